//! What must hold of the table of operations and of what follows from it.

use serde_json::Value;
use stonechat_operations::{Contract, inputs};

use crate::{documents, grpc, operations};

/// Services of the contract that other crates serve; the binary's tests look at the whole.
fn is_own(rpc: &str) -> bool {
    let service = rpc.split('/').next().unwrap_or_default();
    operations::all().iter().any(|operation| operation.service == service)
}

#[test]
fn every_rpc_has_a_rest_form_an_example_and_documented_errors() {
    let document = documents::openapi_document(&documents::Others::default());
    let mut seen = 0;
    for rpc in Contract::get().methods.keys().filter(|rpc| is_own(rpc)) {
        let operation = operations::all().iter().find(|operation| operation.rpc() == *rpc);
        let operation = operation.unwrap_or_else(|| panic!("{rpc} has no REST form"));
        let described = &document["paths"][operation.path][operation.http.lower()];
        assert_eq!(described["operationId"], operation.method, "{rpc} is not in the OpenAPI document");
        for status in ["400", "401", "403", "429", "500", "503", "504"] {
            let problem = &described["responses"][status]["content"]["application/problem+json"];
            assert!(problem.is_object(), "{rpc}: {status} is not documented");
        }
        for code in operation.codes {
            assert!(described["responses"][code.http().to_string()].is_object(), "{rpc}: {code} is not documented");
        }
        seen += 1;
    }
    assert!(seen > 30, "only {seen} RPCs were found in the descriptors");
}

#[test]
fn every_example_is_what_its_operation_takes_and_gives() {
    for operation in operations::all() {
        let tried = grpc::Served::check(operation);
        assert_eq!(tried, Ok(()), "{} {:?} {}", operation.method, operation.http, operation.path);
    }
}

#[test]
fn every_operation_on_data_has_an_example_and_is_described() {
    let document = documents::openapi_document(&documents::Others::default());
    for operation in operations::data() {
        let tried = crate::tenant_data::Served::check(operation);
        assert_eq!(tried, Ok(()), "{} {:?} {}", operation.method, operation.http, operation.path);
    }
    for operation in operations::data().iter().chain(operations::transfer()) {
        assert!(Contract::get().method(&operation.rpc()).is_some(), "{} is no RPC", operation.rpc());
        let described = &document["paths"][operation.path][operation.http.lower()];
        assert_eq!(described["operationId"], operation.method, "{} is not in the document", operation.rpc());
    }
    let services = ["DataService/", "DeletionService/", "TransferService/"];
    for rpc in Contract::get().methods.keys().filter(|rpc| services.iter().any(|service| rpc.starts_with(service))) {
        let mut all = operations::data().iter().chain(operations::transfer());
        assert!(all.any(|operation| operation.rpc() == *rpc), "{rpc} has no REST form");
    }
}

#[test]
fn every_name_in_the_table_is_one_of_the_contract() {
    for operation in operations::all() {
        assert!(Contract::get().method(&operation.rpc()).is_some(), "{} is no RPC", operation.rpc());
        let names: Vec<String> = inputs(operation).into_iter().map(|input| input.name).collect();
        let required = operation.required.iter().copied();
        for name in operation.path_parameters().chain(required) {
            assert!(names.iter().any(|known| known == name), "{} has no field {name}", operation.rpc());
        }
    }
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    fn walk(value: &Value, visit: &mut impl FnMut(&str)) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(to)) = fields.get("$ref") {
                    visit(to);
                }
                fields.values().for_each(|value| walk(value, visit));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, visit)),
            _ => {}
        }
    }
    let document = documents::openapi_document(&documents::Others::default());
    let mut seen = 0;
    walk(&document, &mut |to| {
        let found = document.pointer(to.trim_start_matches('#'));
        assert!(found.is_some(), "{to} leads nowhere");
        seen += 1;
    });
    assert!(seen > 50, "only {seen} references");
}
