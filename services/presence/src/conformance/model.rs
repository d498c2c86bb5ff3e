//! Random work against what should come of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Any, Subject, channel, gateway, until, user};

const GATEWAYS: u64 = 4;
const USERS: u64 = 6;
const STEPS: u64 = 150;
const SEEDS: u64 = 3;

/// Numbers that follow from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

#[derive(Default)]
struct Model {
    attached: BTreeSet<String>,
    routes: BTreeMap<String, BTreeSet<String>>,
    interest: BTreeMap<String, BTreeSet<String>>,
}

impl Model {
    fn clear(&mut self, gateway: &str) {
        for gateways in self.routes.values_mut().chain(self.interest.values_mut()) {
            gateways.remove(gateway);
        }
    }
}

/// Attaching, registering, taking back, detaching and lapsing in any order leave what they should.
pub async fn random_work_agrees_with_a_model(subject: &dyn Subject) {
    let any = Any::of(subject);
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let mut model = Model::default();
        for step in 0..STEPS {
            let name = format!("s{seed}g{}", random.below(GATEWAYS));
            let other = format!("s{seed}u{}", random.below(USERS));
            let (id, is_attached) = (gateway(&name), model.attached.contains(&name));
            let context = format!("seed {seed}, step {step}, {name}, {other}");
            match random.below(12) {
                0 => {
                    any.attach(&name).await;
                    model.clear(&name);
                    model.attached.insert(name);
                }
                1 => {
                    any.next().detach(&id).await.unwrap();
                    model.clear(&name);
                    model.attached.remove(&name);
                }
                2 => {
                    subject.lapse(&id).await;
                    model.clear(&name);
                    model.attached.remove(&name);
                }
                3 => assert_eq!(any.next().renew(&id).await.unwrap(), is_attached, "{context}"),
                4..=6 => {
                    let added = any.next().add_routes(&id, &[user(&other)]).await;
                    assert_eq!(added.is_ok(), is_attached, "{context}");
                    if is_attached {
                        model.routes.entry(other).or_default().insert(name);
                    }
                }
                7 => {
                    any.next().remove_routes(&id, &[user(&other)]).await.unwrap();
                    model.routes.entry(other).or_default().remove(&name);
                }
                8..=10 => {
                    let added = any.next().add_interest(&id, &[channel(&other)]).await;
                    assert_eq!(added.is_ok(), is_attached, "{context}");
                    if is_attached {
                        model.interest.entry(other).or_default().insert(name);
                    }
                }
                _ => {
                    any.next().remove_interest(&id, &[channel(&other)]).await.unwrap();
                    model.interest.entry(other).or_default().remove(&name);
                }
            }
        }
        for number in 0..USERS {
            let name = format!("s{seed}u{number}");
            let expected = |map: &BTreeMap<String, BTreeSet<String>>| {
                map.get(&name).map(|gateways| gateways.iter().cloned().collect::<Vec<_>>()).unwrap_or_default()
            };
            let (routes, interest) = (expected(&model.routes), expected(&model.interest));
            let agrees = until(async || {
                any.gateways_of(&name).await == routes && any.gateways_of_channel(&name).await == interest
            });
            assert!(agrees.await, "seed {seed}, {name}: {routes:?}, {interest:?}");
        }
    }
}
