//! The keys to a bucket, in the form that all tools of S3 share: `aws_access_key_id = …`, `aws_secret_access_key = …` and,
//! where they expire, `aws_session_token = …`, below `[default]` or no heading at all.

use super::sign::Credentials;
use crate::config::Secret;

/// Reads them, or says why not, without repeating anything of the text.
pub fn parse(text: &str) -> Result<Credentials, String> {
    let (mut id, mut secret, mut token) = (None, None, None);
    let mut is_ours = true;
    for line in text.lines().map(str::trim) {
        if let Some(profile) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_ours = profile.trim() == "default";
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| is_ours && !line.starts_with(['#', ';'])) else {
            continue;
        };
        let value = Some(value.trim()).filter(|value| !value.is_empty());
        match name.trim() {
            "aws_access_key_id" => id = value,
            "aws_secret_access_key" => secret = value,
            "aws_session_token" => token = value,
            _ => {}
        }
    }
    let absent = |name: &str| format!("it has no {name} below [default]");
    Ok(Credentials {
        access_key_id: id.ok_or_else(|| absent("aws_access_key_id"))?.into(),
        secret_access_key: Secret::new(secret.ok_or_else(|| absent("aws_secret_access_key"))?),
        session_token: token.map(Secret::new),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_keys_are_read() {
        let text = "# keys\n[other]\naws_access_key_id=no\n[default]\naws_access_key_id = id\naws_secret_access_key=a/b=c+\n\
                    region = x\n[third]\naws_secret_access_key = no\n";
        let credentials = parse(text).unwrap();
        assert_eq!(&*credentials.access_key_id, "id");
        assert_eq!(credentials.secret_access_key.expose(), "a/b=c+");
        assert_eq!(credentials.session_token, None);
        let bare = "aws_access_key_id=id\r\naws_secret_access_key=s\r\naws_session_token=t\r\n";
        assert_eq!(parse(bare).unwrap().session_token, Some(Secret::new("t")));
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_repeated() {
        let error = parse("[default]\naws_access_key_id = hush\naws_secret_access_key =\n").unwrap_err();
        assert!(error.contains("aws_secret_access_key") && !error.contains("hush"), "{error}");
        assert!(parse("").is_err());
    }
}
