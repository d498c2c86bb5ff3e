//! Which commands are timed until their outcome.
//!
//! Some of those that begin, whatever becomes of others meanwhile: if the next one were timed only after the outcome of
//! the last, times in which many wait long would hardly be told of.

use std::collections::HashMap;

use stonechat_model::TimeUs;

/// After so long the outcome of a command is not waited for any more.
const LOST_US: TimeUs = 10_000_000;
/// From one that is timed to the next: more of them tell nothing more.
const EVERY_US: TimeUs = 2_000;
/// Timed at once.
const AT_ONCE: usize = 256;

/// A command, by its session and the id that it has there.
pub(super) type CommandId = (u64, u64);

/// The commands that are timed.
#[derive(Default)]
pub(super) struct TimedCommands {
    commands: HashMap<CommandId, TimedCommand>,
    newest_us: Option<TimeUs>,
}

/// A command that is timed.
pub(super) struct TimedCommand {
    pub began_us: TimeUs,
    /// Whether nobody opened then, and the turns that had begun.
    pub was_calm: bool,
    pub begun: u64,
}

impl TimedCommands {
    /// A command began; perhaps it is timed.
    pub fn began(&mut self, id: CommandId, command: TimedCommand) {
        let now_us = command.began_us;
        if self.newest_us.is_some_and(|newest_us| now_us - newest_us < EVERY_US) {
            return;
        }
        if self.commands.len() >= AT_ONCE {
            self.commands.retain(|_, timed| now_us - timed.began_us <= LOST_US);
        }
        if self.commands.len() < AT_ONCE {
            self.commands.insert(id, command);
            self.newest_us = Some(now_us);
        }
    }

    /// Ends the timing of a command, if it is timed.
    pub fn take(&mut self, id: CommandId) -> Option<TimedCommand> {
        self.commands.remove(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(began_us: TimeUs) -> TimedCommand {
        TimedCommand { began_us, was_calm: true, begun: 0 }
    }

    #[test]
    fn a_slow_command_keeps_no_other_from_being_timed() {
        let mut timed = TimedCommands::default();
        timed.began((1, 1), command(0));
        timed.began((1, 2), command(EVERY_US - 1));
        timed.began((2, 1), command(EVERY_US));
        assert!(timed.take((1, 2)).is_none(), "soon after another");
        assert_eq!(timed.take((2, 1)).map(|timed| timed.began_us), Some(EVERY_US));
        assert_eq!(timed.take((1, 1)).map(|timed| timed.began_us), Some(0));
        assert!(timed.take((1, 1)).is_none(), "its timing has ended");
    }

    #[test]
    fn outcomes_that_never_come_make_room_in_time() {
        let mut timed = TimedCommands::default();
        let most = AT_ONCE as u64;
        (0..=most).for_each(|id| timed.began((1, id), command(id as TimeUs * EVERY_US)));
        assert!(timed.take((1, most)).is_none(), "there is no room");
        timed.began((2, 1), command(LOST_US + EVERY_US));
        assert!(timed.take((2, 1)).is_some());
        assert!(timed.commands.len() < AT_ONCE);
    }
}
