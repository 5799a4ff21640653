//! A profile as a picture: a flame graph (Brendan Gregg, "The Flame Graph", 2016), as SVG without scripts. The width of a
//! function is its share of what is counted, itself and all that it called. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Frame;

const WIDTH: f64 = 1200.0;
const ROW: usize = 16;
/// Narrower than this nobody sees it.
const LEAST_WIDTH: f64 = 0.3;
/// Of one letter of the text in a box.
const LETTER: f64 = 6.6;
/// Deeper ones are cut off.
const MAX_ROWS: usize = 200;

/// A function in its place: how often it was met there, and what it called.
#[derive(Default)]
struct Node<'a> {
    count: u64,
    called: BTreeMap<&'a str, Node<'a>>,
}

impl Node<'_> {
    fn depth(&self) -> usize {
        1 + self.called.values().map(Node::depth).max().unwrap_or(0)
    }
}

/// The picture; `title` stands above it. A stack has its thread's first function first; `unit` is what its number counts.
pub fn svg<'a>(stacks: impl IntoIterator<Item = (&'a [Frame], u64)>, unit: &str, title: &str) -> String {
    let mut root = Node::default();
    for (stack, count) in stacks {
        let mut node = &mut root;
        node.count += count;
        for frame in stack.iter().take(MAX_ROWS) {
            node = node.called.entry(&frame.function).or_default();
            node.count += count;
        }
    }
    let height = ROW * (root.depth() + 2);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"monospace\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"6\" y=\"13\">{}</text>\n",
        escaped(title)
    );
    let scale = WIDTH / root.count.max(1) as f64;
    draw(&mut text, &root, "all", 0, 0.0, &Canvas { scale, height, total: root.count, unit });
    text.push_str("</svg>\n");
    text
}

struct Canvas<'a> {
    /// Pixels for one of what is counted.
    scale: f64,
    height: usize,
    total: u64,
    unit: &'a str,
}

fn draw(text: &mut String, node: &Node<'_>, name: &str, level: usize, left: f64, canvas: &Canvas<'_>) {
    let width = node.count as f64 * canvas.scale;
    if width < LEAST_WIDTH {
        return;
    }
    let top = canvas.height - ROW * (level + 1);
    let share = 100.0 * node.count as f64 / canvas.total.max(1) as f64;
    let letters = ((width - 6.0).max(0.0) / LETTER) as usize;
    let label: String = if letters < 3 { String::new() } else { name.chars().take(letters).collect() };
    // Writing to a text never fails.
    let _ = writeln!(
        text,
        "<g><title>{} ({} {}, {share:.1} %)</title><rect x=\"{left:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"{}\" \
         rx=\"1\" fill=\"{}\"/><text x=\"{:.1}\" y=\"{}\">{}</text></g>",
        escaped(name),
        node.count,
        canvas.unit,
        ROW - 1,
        colour(name),
        left + 3.0,
        top + 12,
        escaped(&label),
    );
    let mut left = left;
    for (name, called) in &node.called {
        draw(text, called, name, level + 1, left, canvas);
        left += called.count as f64 * canvas.scale;
    }
}

/// Ours stand out; all others are warm, the same name alike.
fn colour(name: &str) -> String {
    let sum = name.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let (a, b) = (sum % 50, sum / 50 % 60);
    if name.contains("segvault::") {
        format!("rgb({},{},{})", 90 + b, 170 + a, 235)
    } else {
        format!("rgb({},{},{})", 205 + a, 120 + b, 70)
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Frame;

    #[test]
    fn what_was_met_more_is_wider_and_names_are_no_markup() {
        let frame = |function: &str| Frame { function: function.into(), file: String::new(), line: 0 };
        let (two, other) = ([frame("main"), frame("<a as B>::c")], [frame("main"), frame("segvault::d & e")]);
        let svg = svg([(&two[..], 3), (&other[..], 1)], "samples", "a <title>");
        assert!(svg.contains(">a &lt;title&gt;<"));
        assert!(
            svg.contains(
                "<title>&lt;a as B&gt;::c (3 samples, 75.0 %)</title><rect x=\"0.0\" y=\"32\" width=\"900.0\""
            )
        );
        assert!(svg.contains(
            "<title>segvault::d &amp; e (1 samples, 25.0 %)</title><rect x=\"900.0\" y=\"32\" width=\"300.0\""
        ));
        assert_eq!(svg.matches("<title>main (4 samples, 100.0 %)").count(), 1);
        assert!(roxmltree::Document::parse(&svg).is_ok());
        assert!(roxmltree::Document::parse(&super::svg([], "bytes", "")).is_ok());
    }
}
