//! Lines of an import.

use std::sync::{Arc, LazyLock};

use futures::executor::block_on;
use prost::Message as _;
use stonechat_commands::{ImportedSide, imported_event, imported_item, imported_user};
use stonechat_errors::{Code, Error};
use stonechat_model::{LogId, TenantId, TimeUs};
use stonechat_proto::{
    internal::v1::{CommandRecord, command_record},
    v1::data_item::Item,
};
use stonechat_rows::Rows;
use stonechat_views::Views;

use crate::few_rows::FewRows;

const NOW_US: TimeUs = 1_800_000_000_000_000;
/// What a record may add to the line that it came from: JSON says numbers and enums in fewer bytes at times.
const ADDED_BYTES: usize = 1_024;
const GROWTH: usize = 8;

struct World {
    rows: Arc<FewRows>,
    views: Views,
    tenant: TenantId,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let rows = FewRows::new();
    let views = Views::new(Arc::clone(&rows) as Arc<dyn Rows>);
    let tenant = TenantId::parse("acme").unwrap_or_else(|error| panic!("this is an id: {error}"));
    World { rows, views, tenant }
});

/// A line of any content is refused or becomes records that fit the log; an export can say again what was taken.
pub fn line(data: &[u8]) {
    let Ok(item) = imported_item(data) else { return };
    let as_json = serde_json::to_vec(&item);
    let tenant = &WORLD.tenant;
    let records = match item.item {
        Some(Item::User(user)) => imported_user(tenant, user, NOW_US).map(|(_, record)| vec![record]),
        Some(Item::Entry(entry)) => match entry.event {
            Some(event) => {
                let record = block_on(imported_event(&WORLD.views, tenant, &entry.conversation, event));
                record.map(|record| vec![record])
            }
            None => return,
        },
        Some(Item::Membership(side)) => ImportedSide::parse(side).map(|side| side.into_records(tenant, NOW_US)),
        None => return,
    };
    judge(records, as_json.is_ok(), data.len());
    assert_eq!(WORLD.rows.misshapen(), 0, "a key with NUL was looked for");
}

fn judge(records: Result<Vec<CommandRecord>, Error>, can_be_said: bool, length: usize) {
    let records = match records {
        Ok(records) => records,
        Err(error) => {
            assert_ne!(error.code, Code::Internal, "{error}");
            return;
        }
    };
    assert!(can_be_said, "{records:?} came of what cannot be written as JSON");
    for record in records {
        assert_eq!(record.tenant, WORLD.tenant.as_str());
        let log = LogId::parse(&record.log).unwrap_or_else(|error| panic!("log {:?}: {error}", record.log));
        let is_of_user = matches!(record.body, Some(command_record::Body::UserAction(_)));
        assert_eq!(is_of_user, matches!(log, LogId::User(_)), "{record:?}");
        assert!(record.imported.is_some(), "{record:?}");
        assert!(record.encoded_len() <= GROWTH * length + ADDED_BYTES, "{length} bytes became {record:?}");
    }
}

/// One of every item and event, and some that are none.
pub fn seeds() -> Vec<Vec<u8>> {
    let event = |rest: &str| {
        format!(
            r#"{{"entry":{{"conversation":"team","event":{{"seq":2,"sender":"alice","time":"2020-01-01T00:00:05Z","client_id":"01890a5d-ac96-774b-bcce-b302099a8057",{rest}}}}}}}"#
        )
    };
    let events = EVENTS.iter().map(|rest| event(rest));
    OTHERS.iter().map(|line| (*line).to_owned()).chain(events).map(String::into_bytes).collect()
}

const OTHERS: &[&str] = &[
    r#"{"user":{"id":"alice","name":"Alice","avatar":"https://a.example/a.png","created":"2019-05-05T05:05:05Z"}}"#,
    r#"{"user":{"id":"alice","active":false}}"#,
    r#"{"membership":{"user":"bob","conversation":"team","read_seq":2,"delivered_seq":18446744073709551615,"preferences":{"muted":true,"pinned":true,"hidden":false,"draft":"to be"}}}"#,
    r#"{"entry":{"conversation":"team"}}"#,
    r#"{"entry":{"conversation":"team","event":{"seq":18446744073709551615,"time":"1969-12-31T23:59:59Z","type":"dismissed"}}}"#,
    r#"{"entry":{"conversation":"team","event":{"seq":1,"time":"9999-12-31T23:59:59Z"}},"user":{"id":"alice"}}"#,
];
const EVENTS: &[&str] = &[
    r#""type":"created","kind":"group","members":[{"user":"bob","role":"member"},{"user":"alice","role":"owner"}],"settings":{"name":"Team","who_may_post":"admins"}"#,
    r#""type":"message","text":"hi 👋","mentions":["bob"],"reply_to":1,"custom":{"type":"order","data":{"n":[1,2.5,null]}}"#,
    r#""type":"message","attachments":[{"id":"fl_1"}]"#,
    r#""type":"message","erased":true"#,
    r#""type":"edited","target":2,"content":{"text":"hello"}"#,
    r#""type":"edited","target":2"#,
    r#""type":"recalled","target":2"#,
    r#""type":"reaction_added","target":2,"emoji":"👍""#,
    r#""type":"reaction_removed","target":2,"emoji":"👍""#,
    r#""type":"pinned","target":2"#,
    r#""type":"unpinned","target":2"#,
    r#""type":"members_added","members":[{"user":"carol","role":"admin"}]"#,
    r#""type":"members_removed","users":["carol"]"#,
    r#""type":"member_left""#,
    r#""type":"role_changed","user":"bob","role":"admin""#,
    r#""type":"member_muted","user":"bob","until":"2030-01-01T00:00:00Z""#,
    r#""type":"settings_changed","settings":{"announcement":"read this"}"#,
    r#""type":"ownership_transferred","to":"bob""#,
    r#""type":"dismissed""#,
    r#""type":"upgraded""#,
    r#""type":"user_erased","user":"bob","targets":[2,3],"touched":[4]"#,
    r#""type":"joined","conversation":"team","kind":"group","at_seq":1"#,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_among_the_seeds_is_read() {
        for seed in seeds().split_off(OTHERS.len()) {
            let item = imported_item(&seed);
            let has_body =
                |item: &Item| matches!(item, Item::Entry(it) if it.event.as_ref().is_some_and(|it| it.body.is_some()));
            let text = String::from_utf8_lossy(&seed);
            assert!(item.as_ref().is_ok_and(|it| it.item.as_ref().is_some_and(has_body)), "{text}: {item:?}");
        }
    }
}
