//! Whether anybody may cut an event at all. Pure.

use crate::db::Uploader;
use crate::model::{Event, NodeName};

/// Why no node that there is may upload it, in words for an editor; `None` if one may, or if there is no node yet that uploads.
pub fn nobody_may(event: &Event, uploaders: &[Uploader]) -> Option<String> {
    let location = event.edit.upload_location.as_ref()?;
    if uploaders.is_empty() {
        return None;
    }
    let having: Vec<&NodeName> =
        uploaders.iter().filter(|one| one.locations.contains(location)).map(|one| &one.node).collect();
    if having.is_empty() {
        let mut there: Vec<&str> = uploaders.iter().flat_map(|one| &one.locations).map(|name| name.as_str()).collect();
        there.sort_unstable();
        there.dedup();
        let there = there.join(", ");
        return Some(format!("no node has the upload location {location}; choose another (there are: {there})"));
    }
    let whitelist = event.edit.uploader_whitelist.as_ref()?;
    if having.iter().any(|name| whitelist.contains(name)) {
        return None;
    }
    Some(format!(
        "the uploader whitelist ({}) holds none of the nodes that have the upload location {location} ({}); change one of the two",
        names(whitelist.iter()),
        names(having.into_iter())
    ))
}

fn names<'a>(names: impl Iterator<Item = &'a NodeName>) -> String {
    let mut names: Vec<&str> = names.map(NodeName::as_str).collect();
    names.sort_unstable();
    if names.is_empty() { "empty".into() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SheetFields, Timestamp};

    #[test]
    fn somebody_may_or_it_is_said_what_to_change() {
        let uploader = |node: &str, locations: &[&str]| Uploader {
            node: node.parse().unwrap(),
            locations: locations.iter().map(|name| name.parse().unwrap()).collect(),
            seen_at: Timestamp::from_micros(0),
        };
        let all = [uploader("beta", &["tube", "local"]), uploader("alpha", &["local"])];
        let said = |location: &str, whitelist: Option<&[&str]>| {
            let mut event = Event::new("e".parse().unwrap(), SheetFields::default());
            event.edit.upload_location = Some(location.parse().unwrap());
            event.edit.uploader_whitelist =
                whitelist.map(|names| names.iter().map(|name| name.parse().unwrap()).collect());
            nobody_may(&event, &all)
        };
        assert_eq!(said("local", None), None);
        assert_eq!(said("tube", Some(&["beta"])), None);
        let unknown = said("moon", None).unwrap();
        assert_eq!(unknown, "no node has the upload location moon; choose another (there are: local, tube)");
        let elsewhere = said("tube", Some(&["alpha"])).unwrap();
        assert!(elsewhere.starts_with("the uploader whitelist (alpha) holds none"), "{elsewhere}");
        assert!(said("local", Some(&[])).unwrap().contains("whitelist (empty)"));
        let event = Event::new("e".parse().unwrap(), SheetFields::default());
        assert_eq!(nobody_may(&event, &[]), None, "the nodes are still to be set up");
    }
}
