//! Contexts: a server's URL and a key under a name, kept in a file that only its owner may read.
//!
//! The file is `contexts.toml` in `$STONECHAT_HOME`, else `$XDG_CONFIG_HOME/stonechat`, else `~/.config/stonechat`.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::super::{CliError, output};

/// The permissions of the file, and which of them are too many.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
const OTHERS_MAY: u32 = 0o077;
/// The longest key that is read from standard input, in bytes.
const KEY_BYTES: u64 = 8_192;
/// Where a server is when nothing says otherwise.
pub const DEFAULT_URL: &str = "http://127.0.0.1:4000";

/// A server and a credential.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// The server's URL.
    pub url: String,
    /// The operator's key, a server key or a user token; empty for none.
    #[serde(default)]
    pub key: String,
}

/// Every context, and which of them is used.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Contexts {
    /// The one that is used; empty for none.
    pub current: String,
    /// By name.
    pub contexts: BTreeMap<String, Context>,
}

/// What to do about contexts.
#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// Keep a server and a key under a name, and use it from now on.
    #[command(
        after_help = "Examples:\n  stonechat context set local --key \"$SERVER_KEY\"\n  echo \"$KEY\" | stonechat context set prod --url https://chat.example --key -"
    )]
    Set(SetArgs),
    /// Use a context from now on.
    Use {
        /// Its name.
        name: String,
    },
    /// List contexts; the one that is used has a star.
    List,
    /// Forget a context.
    Delete {
        /// Its name.
        name: String,
    },
}

/// A context to be kept.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Its name.
    name: String,
    /// The server's URL.
    #[arg(long, default_value = DEFAULT_URL)]
    url: String,
    /// The operator's key, a server key or a user token; "-" reads it from standard input.
    #[arg(long, env = "STONECHAT_KEY", hide_env_values = true)]
    key: String,
}

/// Which server and credential a command takes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Choice {
    /// A context by name, instead of the current one.
    pub context: Option<String>,
    /// A URL, instead of the context's.
    pub url: Option<String>,
    /// A credential, instead of the context's.
    pub key: Option<String>,
}

fn failed(path: &Path, what: &str, error: impl std::fmt::Display) -> CliError {
    CliError::Failed(format!("{what} {}: {error}", path.display()))
}

/// Where contexts are kept.
fn file() -> Result<PathBuf, CliError> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("STONECHAT_HOME")
        .or_else(|| set("XDG_CONFIG_HOME").map(|folder| folder.join("stonechat")))
        .or_else(|| set("HOME").map(|folder| folder.join(".config/stonechat")));
    let folder = folder.ok_or_else(|| CliError::Failed("neither STONECHAT_HOME nor HOME is set".to_owned()))?;
    Ok(folder.join("contexts.toml"))
}

impl Contexts {
    /// Reads a file; nothing where there is none. One that others may read is refused, as it holds keys.
    pub fn read(path: &Path) -> Result<Self, CliError> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(path, "read", error)),
        };
        if metadata.permissions().mode() & OTHERS_MAY != 0 {
            return Err(failed(path, "use", "others may read it; run: chmod 600 on it"));
        }
        let text = fs::read_to_string(path).map_err(|e| failed(path, "read", e))?;
        // The error's own text would show the line, and with it a key.
        toml::from_str(&text).map_err(|e| failed(path, "read", e.message()))
    }

    /// Writes the file, beside its place first: a crash leaves no half of it.
    pub fn write(&self, path: &Path) -> Result<(), CliError> {
        let text = toml::to_string(self).map_err(|e| failed(path, "write", e))?;
        let written = || -> std::io::Result<()> {
            if let Some(folder) = path.parent() {
                fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
            }
            let beside = path.with_extension("toml.new");
            // A file that a crash left may have other permissions.
            let _ = fs::remove_file(&beside);
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&beside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, path)
        };
        written().map_err(|e| failed(path, "write", e))
    }

    fn known(&self, name: &str) -> Result<&Context, CliError> {
        let known = || self.contexts.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        self.contexts.get(name).ok_or_else(|| CliError::Usage(format!("no context {name}; known: {}", known())))
    }

    /// The server and credential that a command is for.
    pub fn choose(&self, choice: Choice) -> Result<Context, CliError> {
        let name = choice.context.as_deref().unwrap_or(&self.current);
        let kept = match name {
            "" => Context { url: DEFAULT_URL.to_owned(), key: String::new() },
            name => self.known(name)?.clone(),
        };
        // A context's key goes to the context's server only.
        let key_of_context = match &choice.url {
            Some(url) if *url != kept.url => String::new(),
            _ => kept.key,
        };
        Ok(Context { url: choice.url.unwrap_or(kept.url), key: choice.key.unwrap_or(key_of_context) })
    }
}

/// The server and credential that a command is for.
pub fn choose(choice: Choice) -> Result<Context, CliError> {
    Contexts::read(&file()?)?.choose(choice)
}

/// The key of the command line, or of standard input.
pub fn key_text(given: &str) -> Result<String, CliError> {
    if given != "-" {
        return Ok(given.to_owned());
    }
    let mut text = String::new();
    let read = std::io::stdin().lock().take(KEY_BYTES).read_to_string(&mut text);
    read.map_err(|e| CliError::Failed(format!("read the key from standard input: {e}")))?;
    Ok(text.trim().to_owned())
}

/// Does it.
pub fn execute(command: ContextCommand) -> Result<(), CliError> {
    let path = file()?;
    let mut contexts = Contexts::read(&path)?;
    match command {
        ContextCommand::Set(args) => {
            let context = Context { url: args.url, key: key_text(&args.key)? };
            contexts.contexts.insert(args.name.clone(), context);
            contexts.current = args.name;
            contexts.write(&path)
        }
        ContextCommand::Use { name } => {
            contexts.known(&name)?;
            contexts.current = name;
            contexts.write(&path)
        }
        ContextCommand::List => {
            for (name, context) in &contexts.contexts {
                let star = if *name == contexts.current { '*' } else { ' ' };
                output::line(&format!("{star} {name}  {}", context.url));
            }
            Ok(())
        }
        ContextCommand::Delete { name } => {
            contexts.known(&name)?;
            contexts.contexts.remove(&name);
            if contexts.current == name {
                contexts.current.clear();
            }
            contexts.write(&path)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contexts() -> Contexts {
        let context = |url: &str, key: &str| Context { url: url.to_owned(), key: key.to_owned() };
        let contexts = [("a", context("http://a", "ka")), ("b", context("http://b", "kb"))];
        Contexts { current: "a".to_owned(), contexts: contexts.map(|(name, it)| (name.to_owned(), it)).into() }
    }

    fn chosen(choice: Choice) -> (String, String) {
        let Ok(context) = contexts().choose(choice) else { panic!("refused") };
        (context.url, context.key)
    }

    #[test]
    fn the_command_line_comes_before_the_named_context_and_that_before_the_current_one() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(chosen(Choice::default()), ("http://a".into(), "ka".into()));
        assert_eq!(chosen(Choice { context: text("b"), ..Choice::default() }), ("http://b".into(), "kb".into()));
        let given = Choice { key: text("mine"), ..Choice::default() };
        assert_eq!(chosen(given), ("http://a".into(), "mine".into()));
        assert!(contexts().choose(Choice { context: text("c"), ..Choice::default() }).is_err());
    }

    #[test]
    fn a_contexts_key_is_not_shown_to_another_server() {
        let other = Choice { url: Some("http://elsewhere".to_owned()), ..Choice::default() };
        assert_eq!(chosen(other), ("http://elsewhere".into(), String::new()));
        let same = Choice { url: Some("http://a".to_owned()), ..Choice::default() };
        assert_eq!(chosen(same), ("http://a".into(), "ka".into()));
    }

    #[test]
    fn the_file_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeper/contexts.toml");
        contexts().write(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, FILE_MODE);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, FOLDER_MODE);
        assert!(Contexts::read(&path).unwrap() == contexts());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Contexts::read(&path).is_err(), "others may read it");
    }

    #[test]
    fn a_file_that_cannot_be_read_does_not_show_its_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("contexts.toml");
        fs::write(&path, "current = \"a\"\n[contexts.a]\nurl = \"x\"\nkey = \"sk_secret\" oops\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(FILE_MODE)).unwrap();
        let Err(error) = Contexts::read(&path) else { panic!("it was read") };
        assert!(!error.to_string().contains("sk_secret"), "{error}");
    }

    #[test]
    fn no_file_is_no_contexts() {
        let Ok(none) = Contexts::read(Path::new("/nowhere/contexts.toml")) else { panic!("refused") };
        assert!(none == Contexts::default());
    }
}
