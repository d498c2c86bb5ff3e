//! Every rule over the repository as it is.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{fs, sync::LazyLock};

use stonechat_tidy::{
    Violation, code, documents, layout, licences, metrics, modules,
    protobuf::{self, Element, baseline},
    repository::{self, SourceFile},
    scripts, sizes, text,
};

/// More than this tell nothing new.
const MOST_SHOWN: usize = 60;

static FILES: LazyLock<Vec<SourceFile>> =
    LazyLock::new(|| repository::files(&repository::root()).expect("the repository can be read"));

static CONTRACTS: LazyLock<Vec<Element>> = LazyLock::new(|| {
    let set = protobuf::compile(&repository::root().join("proto"), &FILES).expect("the contracts compile");
    protobuf::elements(&set)
});

fn with_extension(extension: &'static str) -> impl Iterator<Item = &'static SourceFile> {
    FILES.iter().filter(move |file| file.has_extension(extension))
}

fn file(path: &str) -> &'static SourceFile {
    FILES.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{path} is missing"))
}

#[track_caller]
fn none(found: impl IntoIterator<Item = Violation>) {
    let found: Vec<String> = found.into_iter().filter(|v| !v.warning).map(|v| v.to_string()).collect();
    let shown = found.iter().take(MOST_SHOWN).fold(String::new(), |text, line| text + "\n" + line);
    assert!(found.is_empty(), "{} found{shown}\n", found.len());
}

#[test]
fn files_functions_and_parameter_lists_are_short() {
    none(with_extension("rs").flat_map(sizes::check));
}

#[test]
fn code_is_finished_and_does_not_panic() {
    none(with_extension("rs").flat_map(code::check));
}

#[test]
fn dependencies_point_downwards() {
    let manifests: Vec<SourceFile> = FILES.iter().filter(|file| file.name() == "Cargo.toml").cloned().collect();
    assert!(manifests.len() > 10, "the manifests were not found");
    none(layout::dependencies(&manifests));
}

#[test]
fn names_say_something() {
    none(layout::names(&FILES));
}

#[test]
fn every_rust_file_is_compiled() {
    none(modules::check(&FILES));
}

#[test]
fn contracts_are_commented() {
    assert!(CONTRACTS.len() > 100, "the contracts were not found");
    none(protobuf::comments(&CONTRACTS));
}

#[test]
fn contracts_are_in_style() {
    none(protobuf::names(&CONTRACTS));
}

#[test]
fn contracts_break_nobody() {
    none(baseline::texts(&CONTRACTS).into_iter().flat_map(|(path, present)| {
        let accepted = fs::read_to_string(repository::root().join(&path)).unwrap_or_default();
        baseline::check(&path, &accepted, &present)
    }));
}

#[test]
fn generated_documents_are_current() {
    none(documents::generated().into_iter().flat_map(|(path, text)| documents::current(path, &text, &FILES)));
}

#[test]
fn metrics_are_described() {
    none(metrics::check(&with_extension("rs").collect::<Vec<_>>(), file(metrics::PAGE)));
}

#[test]
fn configuration_keys_are_read() {
    none(documents::keys_are_read(&with_extension("rs").collect::<Vec<_>>()));
}

#[test]
fn links_of_documents_lead_somewhere() {
    let exists = |path: &str| repository::root().join(path).exists();
    none(with_extension("md").flat_map(|page| documents::links(page, exists)));
    none(with_extension("md").flat_map(|page| documents::paths_named(page, exists)));
}

#[test]
fn targets_that_are_named_exist() {
    let makefile = &file("Makefile").text;
    let pages = with_extension("md").chain(std::iter::once(file(".ci/run")));
    none(pages.flat_map(|page| documents::make_targets(page, makefile)));
}

#[test]
fn tests_that_are_named_exist() {
    let rust: Vec<&SourceFile> = with_extension("rs").collect();
    none(with_extension("md").flat_map(|page| documents::tests_named(page, &rust)));
}

#[test]
fn licences_of_packages_are_allowed() {
    let packages = licences::packages(&repository::root()).expect("cargo knows the packages");
    none(licences::check(&packages, &licences::allow_list(&file("tests/tidy/licences.txt").text)));
}

#[test]
fn no_machine_or_registry_is_named() {
    none(FILES.iter().flat_map(text::check));
    none(text::lock_file(file("Cargo.lock")));
}

#[test]
fn scripts_parse() {
    let scripts = FILES.iter().filter(|file| scripts::is_script(file));
    none(scripts.flat_map(|script| scripts::check(script).expect("bash runs")));
}
