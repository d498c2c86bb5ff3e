//! The configuration's file and environment.

use stonechat_config::Config;

/// A file is read or refused; what was read can be checked.
pub fn file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(config) = Config::parse(text, []) {
        let _ = config.validate();
    }
}

/// Variables, one a line, are read or refused.
pub fn environment(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let variables = text.lines().filter_map(|line| line.split_once('='));
    if let Ok(config) = Config::parse("", variables.map(|(name, value)| (name.to_owned(), value.to_owned()))) {
        let _ = config.validate();
    }
}
