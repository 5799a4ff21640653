//! What others wrote and we carry: unchanged, named, licensed as the rules allow.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{licence, read_rules};

/// The cells of a table's rows that begin with code: file and sum of each, without backticks.
fn sums(readme: &str) -> Vec<(String, String)> {
    let rows = readme.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect::<Vec<_>>());
    cells.map(|cells| (cells[1].clone(), cells[cells.len() - 2].clone())).collect()
}

/// All that is wrong with a directory that holds somebody else's work.
fn faults(dir: &Path, allowed: &[String]) -> Vec<String> {
    let Ok(readme) = fs::read_to_string(dir.join("README.md")) else { return vec!["it has no README.md".into()] };
    let told = sums(&readme);
    let mut faults = Vec::new();
    for (file, sum) in &told {
        match fs::read(dir.join(file)).map(|bytes| Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()) {
            Ok::<String, _>(found) if found == *sum => {}
            Ok(found) => faults.push(format!("{file} has the sum {found}, not {sum}")),
            Err(error) => faults.push(format!("{file}: {error}")),
        }
    }
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<String> = names.filter(|name| name != "README.md").collect();
    faults.extend(
        names
            .iter()
            .filter(|name| !told.iter().any(|(file, _)| file == *name))
            .map(|name| format!("{name} is not in the table of README.md")),
    );
    if !names.contains("LICENSE") {
        faults.push("it has no LICENSE".into());
    }
    let named = readme.split_once("licensed ").map_or("", |(_, rest)| rest.lines().next().unwrap_or_default());
    let named = named.trim_end_matches('.');
    if licence::is_allowed(named, allowed) != Ok(true) {
        faults.push(format!("README.md says {named:?} is its licence, which is not allowed"));
    }
    faults
}

#[test]
fn what_others_wrote_is_unchanged_and_licensed() {
    let rules = read_rules();
    for vendor in ["ui/vendor", "tests/it/page/vendor"] {
        let vendor = Path::new(env!("CARGO_MANIFEST_DIR")).join(vendor);
        let dirs: Vec<_> = fs::read_dir(vendor).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!dirs.is_empty());
        for dir in dirs {
            let faults = faults(&dir, &rules.licenses.allow);
            assert!(faults.is_empty(), "{}:\n{}", dir.display(), faults.join("\n"));
        }
    }
}

#[test]
fn what_was_changed_or_added_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let allowed = ["MIT".to_owned()];
    assert_eq!(faults(dir.path(), &allowed), ["it has no README.md"]);
    // The sum of nothing.
    let sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let readme = |licence: &str| {
        format!("From afar, licensed {licence}.\n\n| `LICENSE` | x | `{sum}` |\n| `a` | x | `{sum}` |\n")
    };
    for (file, text) in [("README.md", readme("MIT").as_str()), ("LICENSE", ""), ("a", "")] {
        fs::write(dir.path().join(file), text).unwrap();
    }
    assert_eq!(faults(dir.path(), &allowed), Vec::<String>::new());
    for (file, text, fault) in [
        ("a", "changed".to_owned(), "a has the sum"),
        ("b", "added".to_owned(), "b is not in the table"),
        ("README.md", readme("GPL-3.0-only"), "GPL-3.0-only"),
    ] {
        fs::write(dir.path().join(file), text).unwrap();
        let told = faults(dir.path(), &allowed);
        assert!(told.iter().any(|one| one.contains(fault)), "{fault} is not in {told:?}");
    }
    fs::remove_file(dir.path().join("LICENSE")).unwrap();
    assert!(faults(dir.path(), &allowed).contains(&"it has no LICENSE".to_owned()));
}
