//! What an S3 store answers, read into types.
//!
//! Promises: anything that is no such answer is refused, and never a panic; a document with entities of its own too.

use roxmltree::{Document, Node};

/// A part that the store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPart {
    pub number: u32,
    pub len_bytes: u64,
    pub etag: Box<str>,
    /// In base64, where the store keeps it.
    pub sha256: Option<Box<str>>,
}

/// One page of a list.
#[derive(Debug, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// What to ask for the next page with, if there is one.
    pub next: Option<Box<str>>,
}

/// Why the store refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: Box<str>,
    pub message: Box<str>,
}

/// The answer is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store's answer makes no sense: {0}")]
pub struct BadAnswer(pub Box<str>);

pub fn upload_id(body: &[u8]) -> Result<Box<str>, BadAnswer> {
    read(body, "InitiateMultipartUploadResult", |root| text(root, "UploadId").map(Box::from))
}

pub fn listed_parts(body: &[u8]) -> Result<Page<ListedPart>, BadAnswer> {
    read(body, "ListPartsResult", |root| {
        let items = children(root, "Part").map(listed_part).collect::<Result<_, _>>()?;
        Ok(Page { items, next: next(root, "NextPartNumberMarker")? })
    })
}

/// The ids of uploads under way of just this object.
pub fn uploads_of(body: &[u8], object: &str) -> Result<Vec<Box<str>>, BadAnswer> {
    read(body, "ListMultipartUploadsResult", |root| {
        let of_it = children(root, "Upload").filter(|upload| text(*upload, "Key") == Ok(object));
        of_it.map(|upload| text(upload, "UploadId").map(Box::from)).collect()
    })
}

/// An answer to the last step: an error may stand in it although the status says 200.
pub fn completed(body: &[u8]) -> Result<Result<(), Refusal>, BadAnswer> {
    match refusal(body) {
        Some(refusal) => Ok(Err(refusal)),
        None => read(body, "CompleteMultipartUploadResult", |_| Ok(Ok(()))),
    }
}

/// An error, if that is what it is.
pub fn refusal(body: &[u8]) -> Option<Refusal> {
    read(body, "Error", |root| {
        let message = text(root, "Message").unwrap_or_default();
        Ok(Refusal { code: text(root, "Code")?.into(), message: message.chars().take(300).collect::<String>().into() })
    })
    .ok()
}

/// What makes one object out of its parts.
pub fn completion<'a>(parts: impl Iterator<Item = &'a ListedPart>) -> String {
    let mut text = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">".to_owned();
    for part in parts {
        let etag = part.etag.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        text += &format!("<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag>", part.number);
        if let Some(sha256) = &part.sha256 {
            text += &format!("<ChecksumSHA256>{sha256}</ChecksumSHA256>");
        }
        text += "</Part>";
    }
    text + "</CompleteMultipartUpload>"
}

fn listed_part(node: Node<'_, '_>) -> Result<ListedPart, BadAnswer> {
    Ok(ListedPart {
        number: number(node, "PartNumber")?,
        len_bytes: number(node, "Size")?,
        etag: text(node, "ETag")?.into(),
        // It goes into a document of ours as it is.
        sha256: text(node, "ChecksumSHA256").ok().filter(|text| is_base64(text)).map(Box::from),
    })
}

fn is_base64(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
}

fn next(root: Node<'_, '_>, marker: &'static str) -> Result<Option<Box<str>>, BadAnswer> {
    match text(root, "IsTruncated") {
        Ok("true") => text(root, marker).map(|text| Some(text.into())),
        _ => Ok(None),
    }
}

fn read<T>(body: &[u8], name: &str, read: impl FnOnce(Node<'_, '_>) -> Result<T, BadAnswer>) -> Result<T, BadAnswer> {
    let body = std::str::from_utf8(body).map_err(|_| bad("not UTF-8"))?;
    let document = Document::parse(body).map_err(|error| BadAnswer(error.to_string().into()))?;
    let root = document.root_element();
    match root.tag_name().name() {
        found if stem(found) == stem(name) => read(root),
        _ => Err(BadAnswer(format!("it is no {name}").into())),
    }
}

/// Stores differ in how the names of their answers end.
fn stem(name: &str) -> &str {
    ["Result", "Response"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name)
}

fn children<'a, 'i>(node: Node<'a, 'i>, name: &'static str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| child.is_element() && child.tag_name().name() == name)
}

fn text<'a>(node: Node<'a, '_>, name: &'static str) -> Result<&'a str, BadAnswer> {
    let found = children(node, name).next().and_then(|child| child.text()).map(str::trim);
    found.filter(|text| !text.is_empty()).ok_or_else(|| BadAnswer(format!("it has no {name}").into()))
}

fn number<T: std::str::FromStr>(node: Node<'_, '_>, name: &'static str) -> Result<T, BadAnswer> {
    text(node, name)?.parse().map_err(|_| BadAnswer(format!("{name} is no number").into()))
}

fn bad(why: &str) -> BadAnswer {
    BadAnswer(why.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMESPACE: &str = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";

    #[test]
    fn lists_are_read_page_by_page() {
        let body = format!(
            "<?xml version=\"1.0\"?>\n<ListPartsResult {NAMESPACE}><IsTruncated>true</IsTruncated>\
             <NextPartNumberMarker>2</NextPartNumberMarker>\
             <Part><PartNumber>1</PartNumber><ETag>&quot;a&quot;</ETag><Size>5</Size></Part>\
             <Part><PartNumber>2</PartNumber><ETag>b</ETag><Size>7</Size><ChecksumSHA256>q+/=</ChecksumSHA256></Part>\
             </ListPartsResult>"
        );
        let page = listed_parts(body.as_bytes()).unwrap();
        assert_eq!(page.next.as_deref(), Some("2"));
        let part = |number, len_bytes, etag: &str, sha256: Option<&str>| ListedPart {
            number,
            len_bytes,
            etag: etag.into(),
            sha256: sha256.map(Box::from),
        };
        assert_eq!(page.items, [part(1, 5, "\"a\"", None), part(2, 7, "b", Some("q+/="))]);
        assert_eq!(
            completion(page.items.iter()).split_once('>').unwrap().1,
            "<Part><PartNumber>1</PartNumber><ETag>\"a\"</ETag></Part><Part><PartNumber>2</PartNumber><ETag>b</ETag>\
             <ChecksumSHA256>q+/=</ChecksumSHA256></Part></CompleteMultipartUpload>"
        );
        let body = format!(
            "<ListMultipartUploadsResult {NAMESPACE}><Upload><Key>a</Key><UploadId>1</UploadId></Upload>\
             <Upload><Key>ab</Key><UploadId>2</UploadId></Upload></ListMultipartUploadsResult>"
        );
        assert_eq!(uploads_of(body.as_bytes(), "a"), Ok(vec!["1".into()]));
    }

    #[test]
    fn names_of_answers_end_as_they_please() {
        assert_eq!(listed_parts(b"<ListPartsResponse/>"), Ok(Page { items: Vec::new(), next: None }));
        assert!(listed_parts(b"<ListMultipartUploadsResult/>").is_err());
    }

    #[test]
    fn an_error_counts_whatever_the_status() {
        let error = b"<Error><Code>InternalError</Code><Message>try again</Message></Error>";
        let refused = completed(error).unwrap().unwrap_err();
        assert_eq!((&*refused.code, &*refused.message), ("InternalError", "try again"));
        assert_eq!(completed(b"<CompleteMultipartUploadResult/>"), Ok(Ok(())));
        for bad in [
            "",
            "<html/>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><CompleteMultipartUploadResult>&b;</CompleteMultipartUploadResult>",
        ] {
            assert!(completed(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(
            upload_id(b"<InitiateMultipartUploadResult><UploadId> </UploadId></InitiateMultipartUploadResult>")
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(body in "(<[A-Za-z/]{0,12}>|[a-z]{0,5}){0,12}") {
            let _ = (completed(body.as_bytes()), listed_parts(body.as_bytes()), upload_id(body.as_bytes()));
        }
    }
}
