//! Defaults, below a file, below the environment.

use std::path::Path;

use figment::{
    Figment,
    error::Kind,
    providers::{Format, Serialized, Toml},
    value::{Dict, Value},
};

use crate::{Config, ConfigError, Key, Problem, check};

/// What variables of keys begin with.
const PREFIX: &str = "STONECHAT_";
/// What stands between section and key in a variable's name. Variables without it are not of the configuration.
const SEPARATOR: &str = "__";

impl Config {
    /// Reads the file, if there is one, and the process's environment, and [validates](Self::validate) them.
    ///
    /// # Errors
    /// A file that cannot be read; keys that do not exist; values of the wrong type or not allowed.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let text = match path {
            Some(path) => {
                std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?
            }
            None => String::new(),
        };
        let text_only = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let config = Self::parse(&text, std::env::vars_os().filter_map(text_only))?;
        config.validate()?;
        Ok(config)
    }

    /// Reads the text of a file and variables of an environment. Does not [`validate`](Self::validate).
    ///
    /// # Errors
    /// Keys that do not exist; values of the wrong type.
    pub fn parse(toml: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let environment = of_environment(environment)?;
        Figment::from(Serialized::defaults(Self::default()))
            .merge(Toml::string(toml))
            .merge(Serialized::defaults(environment))
            .extract()
            .map_err(|errors| ConfigError::Invalid(errors.into_iter().map(problem).collect()))
    }

    /// Checks every value but secrets.
    ///
    /// # Errors
    /// Everything that is wrong, each with its key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = self.problems();
        if self.gateway.commands_burst < self.gateway.commands_per_s {
            let reason = format!("must be at least gateway.commands_per_s ({})", self.gateway.commands_per_s);
            problems.push(Problem::new("gateway.commands_burst", reason));
        }
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(problems)) }
    }

    /// Checks secrets: apart from the rest, since a development server makes its own.
    ///
    /// # Errors
    /// A secret that is missing or can be guessed, named by its key.
    pub fn check_secrets(&self) -> Result<(), ConfigError> {
        check::secret(self.api.operator_key.expose())
            .map_err(|reason| ConfigError::Invalid(vec![Problem::new("api.operator_key", reason)]))
    }
}

/// The values that variables set, by section and key.
fn of_environment(environment: impl IntoIterator<Item = (String, String)>) -> Result<Dict, ConfigError> {
    let keys = Config::keys();
    let mut sections = Dict::new();
    let mut problems = Vec::new();
    for (variable, text) in environment {
        if !variable.strip_prefix(PREFIX).is_some_and(|name| name.contains(SEPARATOR)) {
            continue;
        }
        let Some(key) = keys.iter().find(|key| key.variable() == variable) else {
            problems.push(Problem::new(variable, "environment variable of no key"));
            continue;
        };
        let section = sections.entry(key.section.to_owned()).or_insert_with(|| Value::from(Dict::new()));
        if let Value::Dict(_, entries) = section {
            entries.insert(key.name.to_owned(), typed(key, text));
        }
    }
    if problems.is_empty() { Ok(sections) } else { Err(ConfigError::Invalid(problems)) }
}

/// The text as the key's type; as text where it is not of that type, so that reading says what was expected.
fn typed(key: &Key, text: String) -> Value {
    use serde_json::Value as Json;
    match &key.default {
        Json::Bool(_) => text.parse::<bool>().map_or_else(|_| Value::from(text), Value::from),
        Json::Number(number) if number.is_f64() => text.parse::<f64>().map_or_else(|_| Value::from(text), Value::from),
        Json::Number(_) => text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from),
        Json::Array(present) => {
            let is_of_numbers = present.first().is_some_and(Json::is_number);
            let item = |item: &str| match item.parse::<u64>() {
                Ok(number) if is_of_numbers => Value::from(number),
                _ => Value::from(item),
            };
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::from(items.map(item).collect::<Vec<Value>>())
        }
        _ => Value::from(text),
    }
}

fn problem(error: figment::Error) -> Problem {
    let path = error.path.join(".");
    match &error.kind {
        Kind::UnknownField(_, expected) => {
            Problem::new(path, format!("unknown key, expected one of {}", expected.join(", ")))
        }
        kind => Problem::new(path, kind.to_string()),
    }
}
