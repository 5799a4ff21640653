//! Prints the effective configuration: TOML that can be read again, each value with its origin behind it.

use super::reader::Effective;

/// One table per section, in the order in which they were read.
pub(super) fn render(effective: &[Effective]) -> String {
    let mut text = String::new();
    for section in effective.chunk_by(|one, next| one.section == next.section) {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&section[0].header);
        text.push('\n');
        render_section(&mut text, section);
    }
    text
}

fn render_section(text: &mut String, section: &[Effective]) {
    let lines: Vec<String> = section.iter().map(line).collect();
    let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    for (line, one) in lines.iter().zip(section) {
        text.push_str(&format!("{line:width$}  # {}\n", one.origin.brief()));
    }
}

/// `key = value`; an absent key stands in a comment, so that the text still reads as what it is.
fn line(one: &Effective) -> String {
    match &one.value {
        Some(value) => format!("{} = {value}", one.key),
        None => format!("#{} is not set", one.key),
    }
}
