//! Headers of pieces that were read lately: a download reads a piece in many steps, and its header once.

use std::collections::HashMap;

use parking_lot::Mutex;
use stonechat_model::limits;

use crate::{
    BlobKey,
    seal::{Header, Layout},
};

type Known = (Header, Layout);

/// A cache of two generations: when the younger is full, the older goes.
#[derive(Default)]
pub struct Recent(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    younger: HashMap<BlobKey, Known>,
    older: HashMap<BlobKey, Known>,
}

impl Recent {
    pub fn get(&self, key: &BlobKey) -> Option<Known> {
        let mut generations = self.0.lock();
        if let Some(known) = generations.younger.get(key) {
            return Some(*known);
        }
        let known = generations.older.remove(key)?;
        generations.keep(key.clone(), known);
        Some(known)
    }

    pub fn keep(&self, key: BlobKey, known: Known) {
        self.0.lock().keep(key, known);
    }

    pub fn forget(&self, key: &BlobKey) {
        let mut generations = self.0.lock();
        generations.younger.remove(key);
        generations.older.remove(key);
    }
}

impl Generations {
    fn keep(&mut self, key: BlobKey, known: Known) {
        if self.younger.len() >= limits::BLOB_HEADERS / 2 {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert(key, known);
    }
}
