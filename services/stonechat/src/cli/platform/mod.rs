//! The tenants' platform on the command line: `stonechat tenant create`, `stonechat key list` and so on, one command
//! for each operation of the api, with a server and a key from a context, the environment or flags.

pub mod connection;
pub mod context;
mod operations;
pub mod request;
mod table;

use std::io::Read as _;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value};

use self::{
    connection::Connection,
    context::{Choice, key_text},
    operations::{Operation, Place},
    request::{PAGE_TOKEN, Request},
};
use super::{CliError, output};

const CONTEXT: &str = "context_name";
const URL: &str = "server_url";
const KEY: &str = "credential";
const JSON: &str = "as_json";

/// The largest body that is read from a file or standard input, in bytes.
const BODY_BYTES: u64 = 16 << 20;

/// The commands of the api's operations.
#[derive(Default)]
pub struct Platform {
    operations: Vec<Operation>,
}

/// A command with the flags that every operation has, less those whose names its own fields take.
fn connection_arguments(command: Command, operation: &Operation) -> Command {
    let flag = |id: &'static str, name: &'static str, about: &'static str| {
        let is_taken = operation.fields.iter().any(|field| field.place != Place::Path && field.name == name);
        let argument = Arg::new(id).help(about).help_heading("Server");
        if is_taken { argument.long(format!("server-{name}")) } else { argument.long(name) }
    };
    command
        .arg(flag(CONTEXT, "context", "The context that says server and key").env("STONECHAT_CONTEXT"))
        .arg(flag(URL, "url", "The server's URL, instead of the context's").env("STONECHAT_URL"))
        .arg(
            flag(KEY, "key", "The operator's key, a server key or a user token; - reads it from standard input")
                .env("STONECHAT_KEY")
                .hide_env_values(true),
        )
        .arg(flag(JSON, "json", "Print JSON").action(ArgAction::SetTrue))
}

impl Platform {
    /// The operations of an OpenAPI document.
    pub fn new(document: &Value) -> Self {
        Self { operations: operations::operations(document) }
    }

    /// Adds a command for each operation, beside those that are there.
    pub fn add_to(&self, mut command: Command) -> Command {
        for operation in &self.operations {
            let verb = request::command(operation);
            let noun = operation.noun.as_str();
            match command.find_subcommand(noun).cloned() {
                Some(present) if present.find_subcommand(&operation.verb).is_some() => {}
                Some(_) => {
                    command = command.mut_subcommand(noun, |it| it.subcommand(connection_arguments(verb, operation)))
                }
                None => {
                    let group = Command::new(operation.noun.clone())
                        .about(format!("{} by the api", capital(noun)))
                        .arg_required_else_help(true)
                        .subcommand_required(true);
                    command = command.subcommand(group.subcommand(connection_arguments(verb, operation)));
                }
            }
        }
        command
    }

    /// The operation that was asked for, and what was given; `None` where a command of another kind was.
    pub fn asked<'a>(&'a self, own: &Command, given: &'a ArgMatches) -> Option<(&'a Operation, &'a ArgMatches)> {
        let (noun, given) = given.subcommand()?;
        let (verb, given) = given.subcommand()?;
        if own.find_subcommand(noun).is_some_and(|group| group.find_subcommand(verb).is_some()) {
            return None;
        }
        let operation = self.operations.iter().find(|it| it.noun == noun && it.verb == verb)?;
        Some((operation, given))
    }
}

fn capital(noun: &str) -> String {
    let mut letters = noun.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The body that `--body` names.
fn read_body(source: &str) -> Result<String, CliError> {
    let mut text = String::new();
    let failed = |e: std::io::Error| CliError::Failed(format!("read --body {source}: {e}"));
    match source.strip_prefix('@') {
        Some(path) => {
            let file = std::fs::File::open(path).map_err(failed)?;
            file.take(BODY_BYTES).read_to_string(&mut text).map_err(failed)?;
        }
        None if source == "-" => {
            std::io::stdin().lock().take(BODY_BYTES).read_to_string(&mut text).map_err(failed)?;
        }
        None => text = source.to_owned(),
    }
    Ok(text)
}

/// The page's items after those of the pages before.
fn append(pages: &mut Map<String, Value>, page: Map<String, Value>) {
    for (name, value) in page {
        match (pages.get_mut(&name), value) {
            (Some(Value::Array(all)), Value::Array(more)) => all.extend(more),
            (_, value) => {
                pages.insert(name, value);
            }
        }
    }
}

/// Every page, as one.
async fn all_pages(connection: &Connection, mut request: Request) -> Result<Value, CliError> {
    let mut pages = Map::new();
    loop {
        let Value::Object(mut page) = connection.call(&request).await? else { return Ok(Value::Object(pages)) };
        let next = page.remove("next_page_token");
        append(&mut pages, page);
        match next.as_ref().and_then(Value::as_str) {
            Some(token) if !token.is_empty() => request.turn_to(token),
            _ => return Ok(Value::Object(pages)),
        }
    }
}

/// Does an operation and prints its answer.
pub async fn execute(operation: &Operation, given: &ArgMatches) -> Result<(), CliError> {
    let text = |name: &str| given.get_one::<String>(name).cloned();
    let key = text(KEY).as_deref().map(key_text).transpose()?;
    let context = context::choose(Choice { context: text(CONTEXT), url: text(URL), key })?;
    let request = request::request(operation, given, read_body)?;
    let connection = Connection::new(&context)?;
    let mut answer = match request.all {
        true => all_pages(&connection, request).await?,
        false => connection.call(&request).await?,
    };
    if given.get_flag(JSON) {
        output::json(&answer);
        return Ok(());
    }
    let next = answer.as_object_mut().and_then(|fields| fields.remove("next_page_token"));
    for line in table::lines(&answer) {
        output::line(&line);
    }
    if let Some(token) = next.as_ref().and_then(Value::as_str).filter(|token| !token.is_empty()) {
        output::note(&format!("there is more: --{} {token}, or --all", PAGE_TOKEN.replace('_', "-")));
    }
    Ok(())
}
