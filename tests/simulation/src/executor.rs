//! A single-threaded executor whose every choice follows from a seed: which ready task runs next, and a clock
//! that moves only when nothing is ready.
//!
//! Tasks belong to a [`Node`]. Killing a node drops its tasks wherever they wait, which is what a crash looks
//! like to them; freezing it leaves them as they are for a while, as a stopped process is.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use parking_lot::Mutex;

use crate::random::Random;

/// One life of a simulated process, or the world outside of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node(pub u32);

/// What belongs to no process: storage, brokers, networks.
pub const WORLD: Node = Node(0);

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Task {
    node: Node,
    waker: Waker,
    flag: Arc<TaskFlag>,
    /// Taken out while it is polled.
    work: Option<Work>,
}

struct TaskFlag {
    id: u64,
    queued: AtomicBool,
    ready: Arc<Mutex<Vec<u64>>>,
}

impl Wake for TaskFlag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.lock().push(self.id);
        }
    }
}

#[derive(Default)]
struct State {
    now_us: i64,
    next_task: u64,
    next_timer: u64,
    next_node: u32,
    tasks: BTreeMap<u64, Task>,
    timers: BTreeMap<(i64, u64), Waker>,
    /// Nodes that stand still, with their tasks that would be ready.
    frozen: BTreeMap<Node, Vec<u64>>,
    dead: BTreeSet<Node>,
    /// Whose task is being polled.
    current: Option<Node>,
    steps: u64,
    is_traced: bool,
    /// Follows every choice: two runs that differ anywhere differ here.
    fingerprint: u64,
}

/// The executor and its clock. Clones are the same one.
#[derive(Clone)]
pub struct Runtime {
    state: Arc<Mutex<State>>,
    ready: Arc<Mutex<Vec<u64>>>,
    choices: Random,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It ran a task.
    Ran,
    /// It moved the clock.
    Waited,
    /// Nothing is ready and nothing waits for the clock.
    Idle,
}

impl Runtime {
    /// An executor at a time, whose choices follow from the seed.
    pub fn new(seed: u64, now_us: i64) -> Self {
        let state = State { now_us, next_node: 1, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), ready: Arc::default(), choices: Random::new(seed, "schedule") }
    }

    /// The time in microseconds since 1970.
    pub fn now_us(&self) -> i64 {
        self.state.lock().now_us
    }

    /// The node whose task runs, or ran last.
    pub fn current(&self) -> Option<Node> {
        self.state.lock().current
    }

    /// How many tasks were polled so far.
    pub fn steps(&self) -> u64 {
        self.state.lock().steps
    }

    /// Lets [`Runtime::trace`] print.
    pub fn set_traced(&self, is_traced: bool) {
        self.state.lock().is_traced = is_traced;
    }

    /// Prints what happens, when the run is traced.
    #[expect(clippy::print_stdout, reason = "that is what a trace is")]
    pub fn trace(&self, what: impl FnOnce() -> String) {
        let state = self.state.lock();
        let (is_traced, steps, now_us) = (state.is_traced, state.steps, state.now_us);
        drop(state);
        if is_traced {
            println!("{steps:>7} {:>9}us {}", now_us % 1_000_000_000, what());
        }
    }

    /// A number that follows from every choice made so far.
    pub fn fingerprint(&self) -> u64 {
        self.state.lock().fingerprint
    }

    /// A node that never was before.
    pub fn new_node(&self) -> Node {
        let mut state = self.state.lock();
        state.next_node += 1;
        Node(state.next_node - 1)
    }

    /// Runs a task on a node; not at all if the node is dead.
    pub fn spawn(&self, node: Node, work: impl Future<Output = ()> + Send + 'static) {
        let mut state = self.state.lock();
        if state.dead.contains(&node) {
            return;
        }
        let id = state.next_task;
        state.next_task += 1;
        let flag = Arc::new(TaskFlag { id, queued: AtomicBool::new(true), ready: Arc::clone(&self.ready) });
        let waker = Waker::from(Arc::clone(&flag));
        state.tasks.insert(id, Task { node, waker, flag, work: Some(Box::pin(work)) });
        drop(state);
        self.ready.lock().push(id);
    }

    /// Ends a node's tasks wherever they wait. Not from a task of that node.
    pub fn kill(&self, node: Node) {
        let mut state = self.state.lock();
        state.dead.insert(node);
        state.frozen.remove(&node);
        let ids: Vec<u64> = state.tasks.iter().filter(|(_, task)| task.node == node).map(|(id, _)| *id).collect();
        let ended: Vec<Task> = ids.iter().filter_map(|id| state.tasks.remove(id)).collect();
        drop(state);
        // Only now: what is dropped may wake others, which takes locks.
        drop(ended);
    }

    /// Ends every task; otherwise tasks and executor would hold each other for good.
    pub fn end(&self) {
        loop {
            let tasks = std::mem::take(&mut self.state.lock().tasks);
            if tasks.is_empty() {
                break;
            }
            drop(tasks);
        }
        let timers = std::mem::take(&mut self.state.lock().timers);
        drop(timers);
    }

    /// Whether the node was killed.
    pub fn is_dead(&self, node: Node) -> bool {
        self.state.lock().dead.contains(&node)
    }

    /// Lets a node stand still until [`Runtime::thaw`].
    pub fn freeze(&self, node: Node) {
        let mut state = self.state.lock();
        if !state.dead.contains(&node) {
            state.frozen.entry(node).or_default();
        }
    }

    /// Lets a frozen node go on.
    pub fn thaw(&self, node: Node) {
        let held = self.state.lock().frozen.remove(&node);
        self.ready.lock().extend(held.into_iter().flatten());
    }

    /// Runs one task that is ready, or else moves the clock to the next time that something waits for.
    pub fn step(&self) -> Step {
        loop {
            let Some(id) = self.choose() else { return self.advance() };
            let mut state = self.state.lock();
            let Some(node) = state.tasks.get(&id).map(|task| task.node) else { continue };
            if let Some(held) = state.frozen.get_mut(&node) {
                held.push(id);
                continue;
            }
            state.steps += 1;
            state.current = Some(node);
            state.fingerprint = (state.fingerprint.rotate_left(7) ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let Some(task) = state.tasks.get_mut(&id) else { continue };
            task.flag.queued.store(false, Ordering::Relaxed);
            let (Some(mut work), waker) = (task.work.take(), task.waker.clone()) else { continue };
            drop(state);
            let done = work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
            let mut state = self.state.lock();
            let gone = if done { state.tasks.remove(&id) } else { None };
            if !done && let Some(task) = state.tasks.get_mut(&id) {
                task.work = Some(work);
            }
            drop(state);
            drop(gone);
            return Step::Ran;
        }
    }

    fn choose(&self) -> Option<u64> {
        let mut ready = self.ready.lock();
        if ready.is_empty() {
            return None;
        }
        let index = self.choices.index(ready.len());
        Some(ready.swap_remove(index))
    }

    fn advance(&self) -> Step {
        let mut state = self.state.lock();
        let Some((at, _)) = state.timers.keys().next().copied() else { return Step::Idle };
        state.now_us = state.now_us.max(at);
        state.fingerprint = state.fingerprint.rotate_left(3) ^ at.cast_unsigned();
        let now_us = state.now_us;
        let later = state.timers.split_off(&(now_us, u64::MAX));
        let due = std::mem::replace(&mut state.timers, later);
        drop(state);
        due.into_values().for_each(Waker::wake);
        Step::Waited
    }

    /// Waits.
    pub fn sleep(&self, us: u64) -> Sleep {
        let until_us = self.now_us().saturating_add(i64::try_from(us).unwrap_or(i64::MAX));
        Sleep { runtime: self.clone(), until_us, timer: None }
    }

    /// Lets others run first.
    pub fn pause(&self) -> Pause {
        Pause { is_over: false }
    }
}

/// A wait for the clock.
pub struct Sleep {
    runtime: Runtime,
    until_us: i64,
    timer: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let runtime = self.runtime.clone();
        let mut state = runtime.state.lock();
        if state.now_us >= self.until_us {
            return Poll::Ready(());
        }
        let id = self.timer.unwrap_or_else(|| {
            state.next_timer += 1;
            state.next_timer
        });
        self.timer = Some(id);
        state.timers.insert((self.until_us, id), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.timer {
            self.runtime.state.lock().timers.remove(&(self.until_us, id));
        }
    }
}

/// A turn given to others.
pub struct Pause {
    is_over: bool,
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.is_over, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(runtime: &Runtime) {
        while runtime.step() != Step::Idle {}
    }

    fn story(seed: u64) -> (Vec<u32>, u64) {
        let runtime = Runtime::new(seed, 0);
        let told = Arc::new(Mutex::new(Vec::new()));
        for name in 0..6 {
            let (inner, told) = (runtime.clone(), Arc::clone(&told));
            runtime.spawn(WORLD, async move {
                for _ in 0..3 {
                    inner.pause().await;
                    told.lock().push(name);
                    inner.sleep(5).await;
                }
            });
        }
        run(&runtime);
        let told = told.lock().clone();
        (told, runtime.fingerprint())
    }

    #[test]
    fn a_seed_gives_one_order_and_others_give_others() {
        assert_eq!(story(3), story(3));
        assert!((0..20).any(|seed| story(seed) != story(3)));
    }

    #[test]
    fn the_clock_moves_only_when_nothing_is_ready() {
        let runtime = Runtime::new(0, 100);
        let inner = runtime.clone();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&seen);
        runtime.spawn(WORLD, async move {
            inner.sleep(1_000_000).await;
            to.lock().push(inner.now_us());
            inner.sleep(0).await;
            to.lock().push(inner.now_us());
        });
        run(&runtime);
        assert_eq!(*seen.lock(), [1_000_100, 1_000_100]);
    }

    #[test]
    fn a_killed_node_drops_its_tasks_where_they_wait() {
        struct Told(Arc<Mutex<u32>>);
        impl Drop for Told {
            fn drop(&mut self) {
                *self.0.lock() += 1;
            }
        }
        let runtime = Runtime::new(0, 0);
        let (node, dropped) = (runtime.new_node(), Arc::new(Mutex::new(0)));
        let (inner, guard) = (runtime.clone(), Told(Arc::clone(&dropped)));
        runtime.spawn(node, async move {
            let _guard = guard;
            inner.sleep(10).await;
            unreachable!("killed before");
        });
        runtime.step();
        runtime.kill(node);
        assert_eq!(*dropped.lock(), 1);
        runtime.spawn(node, async { unreachable!("dead") });
        run(&runtime);
    }

    #[test]
    fn a_frozen_node_goes_on_where_it_was() {
        let runtime = Runtime::new(0, 0);
        let (node, count) = (runtime.new_node(), Arc::new(Mutex::new(0)));
        let (inner, to) = (runtime.clone(), Arc::clone(&count));
        runtime.spawn(node, async move {
            for _ in 0..3 {
                *to.lock() += 1;
                inner.sleep(10).await;
            }
        });
        runtime.step();
        runtime.freeze(node);
        run(&runtime);
        assert_eq!(*count.lock(), 1);
        runtime.thaw(node);
        run(&runtime);
        assert_eq!(*count.lock(), 3);
    }
}
