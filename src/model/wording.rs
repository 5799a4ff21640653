//! What is added to the titles and descriptions that editors write, and taken off again when they edit once more.
//!
//! Promises: what was added is taken off exactly; what editors wrote is never touched.

use super::{Column, Refusal};

/// What YouTube takes, in characters.
pub const MAX_TITLE_CHARS: usize = 100;
pub const MAX_DESCRIPTION_CHARS: usize = 5000;

const PLAYLISTS: &str = "This video is part of the following playlists:";
const THUMBNAIL: &str = "Thumbnail Credit: ";

/// What stands around what editors write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wording {
    /// Before each title, with " - " behind it; may be empty.
    pub title_header: String,
    /// Below each description; may be empty.
    pub description_footer: String,
}

impl Wording {
    /// What stands before each title.
    pub fn title_prefix(&self) -> String {
        if self.title_header.is_empty() { String::new() } else { format!("{} - ", self.title_header) }
    }

    /// How many characters an editor has for the title.
    pub fn title_room(&self) -> usize {
        MAX_TITLE_CHARS.saturating_sub(self.title_prefix().chars().count())
    }

    pub fn title(&self, written: &str) -> String {
        self.title_prefix() + written
    }

    pub fn written_title<'t>(&self, title: &'t str) -> &'t str {
        title.strip_prefix(&self.title_prefix()).unwrap_or(title)
    }

    /// `playlists` are (name, id at YouTube); `attribution` is whose thumbnail template it is, or empty.
    pub fn description(&self, written: &str, playlists: &[(String, String)], attribution: &str) -> String {
        let mut text = format!("{written}\n\n");
        if !playlists.is_empty() {
            text.push_str(PLAYLISTS);
            for (name, id) in playlists {
                text.push_str(&format!("\n- {} [https://youtube.com/playlist?list={id}]", one_line(name)));
            }
            text.push_str("\n\n");
        }
        if !attribution.is_empty() {
            text.push_str(&format!("{THUMBNAIL}{}\n", one_line(attribution)));
        }
        text + &self.description_footer
    }

    pub fn written_description<'t>(&self, description: &'t str) -> &'t str {
        self.try_written(description).unwrap_or(description)
    }

    /// Takes the parts off from behind. Each is there or not, but the blank line between what is written and the rest is.
    fn try_written<'t>(&self, description: &'t str) -> Option<&'t str> {
        let mut rest = description.strip_suffix(self.description_footer.as_str())?;
        if let Some((before, line)) = rest.strip_suffix('\n').and_then(|text| text.rsplit_once('\n'))
            && line.starts_with(THUMBNAIL)
        {
            rest = description.get(..before.len() + 1)?;
        }
        if let Some((before, list)) = rest.strip_suffix("\n\n").and_then(|text| text.rsplit_once("\n\n"))
            && let Some(lines) = list.strip_prefix(PLAYLISTS).and_then(|lines| lines.strip_prefix('\n'))
            && lines.lines().all(|line| line.starts_with("- ") && line.ends_with(']'))
        {
            return Some(before);
        }
        rest.strip_suffix("\n\n")
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Refuses what YouTube would.
pub fn check_wording(title: Option<&str>, description: Option<&str>) -> Result<(), Refusal> {
    let texts = [
        (Column::VideoTitle, title, MAX_TITLE_CHARS, "header"),
        (Column::VideoDescription, description, MAX_DESCRIPTION_CHARS, "footer"),
    ];
    for (column, text, most, affix) in texts {
        let Some(text) = text else { continue };
        if text.chars().count() > most {
            let why = format!("it must be {most} characters or less, including the {affix}");
            return Err(Refusal::Field { column, why });
        }
        if text.contains(['<', '>']) {
            return Err(Refusal::Field { column, why: "it may not contain < or >".into() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn youtube_s_limits_hold_with_all_that_is_added() {
        let wording = Wording { title_header: "GDQ".into(), description_footer: String::new() };
        assert_eq!((wording.title_prefix().as_str(), wording.title_room()), ("GDQ - ", 94));
        let refused = |title: &str| check_wording(Some(&wording.title(title)), None).is_err();
        assert!(!refused(&"é".repeat(94)) && refused(&"é".repeat(95)) && refused("a <b>"));
        assert!(check_wording(None, Some(&"x".repeat(5001))).is_err());
    }

    proptest! {
        #[test]
        fn what_is_added_is_taken_off_again(
            header in "|[a-z ]{1,5}",
            footer in "|[a-zA-Z:\n -]{1,12}",
            written in "(?s)[a-z\n ]{0,40}|.{0,20}",
            names in prop::collection::vec("[a-z]{1,4} \\]?", 0..3),
            attribution in "|[a-zé ]{1,6}x",
        ) {
            let wording = Wording { title_header: header, description_footer: footer };
            let playlists: Vec<(String, String)> = names.into_iter().map(|name| (name, "PL-_1".into())).collect();
            let title = wording.title(&written);
            prop_assert_eq!(wording.written_title(&title), written.as_str());
            let added = wording.description(&written, &playlists, &attribution);
            prop_assert_eq!(wording.written_description(&added), written.as_str());
        }
    }
}
