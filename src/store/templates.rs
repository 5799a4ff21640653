//! Templates of thumbnails, as people put them there: BASE/.segvault/templates/NAME.png, and if they like NAME.json.
//!
//! Never: writes any. Blocks on the disk.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::{Layout, StoreError};
use crate::model::FileName;

/// A template of 1920 x 1080 pixels without compression has 8 MB.
const MAX_IMAGE_BYTES: u64 = 32 << 20;
const MAX_ABOUT_BYTES: u64 = 64 << 10;

/// A template as its files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateFiles {
    pub image: Vec<u8>,
    /// What NAME.json says, where there is one.
    pub about: Option<Vec<u8>>,
}

/// `None` if there is no such template. One that is too large is an error.
pub fn read_template(layout: &Layout, name: &FileName) -> Result<Option<TemplateFiles>, StoreError> {
    let dir = layout.own_dir().join("templates");
    let Some(image) = read_file(&dir.join(format!("{name}.png")), MAX_IMAGE_BYTES)? else { return Ok(None) };
    let about = read_file(&dir.join(format!("{name}.json")), MAX_ABOUT_BYTES)?;
    Ok(Some(TemplateFiles { image, about }))
}

fn read_file(path: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(max_bytes + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max_bytes {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {max_bytes} bytes")));
        }
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        // No file can have a name this long either.
        Err(source) if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidFilename) => Ok(None),
        Err(source) => Err(StoreError::of_read(path, source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_a_picture_and_what_is_said_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let templates = layout.own_dir().join("templates");
        std::fs::create_dir_all(&templates).unwrap();
        std::fs::write(templates.join("plain.png"), b"picture").unwrap();
        std::fs::write(templates.join("race.png"), b"other").unwrap();
        std::fs::write(templates.join("race.json"), b"{}").unwrap();
        let file = File::create(templates.join("huge.png")).unwrap();
        file.set_len(MAX_IMAGE_BYTES + 1).unwrap();
        let read = |name: &str| read_template(&layout, &name.parse().unwrap());
        let template = |image: &[u8], about: Option<&[u8]>| TemplateFiles {
            image: image.to_vec(),
            about: about.map(<[u8]>::to_vec),
        };
        assert_eq!(read("plain").unwrap(), Some(template(b"picture", None)));
        assert_eq!(read("race").unwrap(), Some(template(b"other", Some(b"{}"))));
        assert_eq!(read("none").unwrap(), None);
        assert!(read("huge").is_err());
    }
}
