use super::*;

fn vector(name: &str) -> Vec<u8> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/twitch");
    std::fs::read(dir.join(name)).unwrap()
}

fn login() -> TwitchLogin {
    "segvault".parse().unwrap()
}

#[test]
fn answers_of_graphql_are_told_apart() {
    let access = access_of(&vector("gql_token.json"), &login()).unwrap();
    assert_eq!(access.signature, "0123456789abcdef0123456789abcdef01234567");
    assert!(access.value.contains("\"channel\":\"segvault\""));
    let refused = |name: &str| access_of(&vector(name), &login()).unwrap_err();
    assert_eq!(refused("gql_unknown_question.json"), NoAccess::UnknownQuestion);
    assert_eq!(refused("gql_no_channel.json"), NoAccess::Other("there is no channel segvault".into()));
    assert_eq!(refused("gql_integrity.json"), NoAccess::Other("failed integrity check".into()));
    assert_eq!(access_of(b"<html>", &login()).unwrap_err(), NoAccess::Other("the answer is no JSON".into()));
    assert_eq!(
        access_of(b"[1]", &login()).unwrap_err(),
        NoAccess::Other("the answer has another form than we know".into())
    );
}

#[test]
fn refusals_of_usher_are_named() {
    assert_eq!(refusal_of_usher(&vector("usher_geoblocked.json")), "content_geoblocked");
    for bad in [&b""[..], b"<html>", b"[]", b"{}", b"[{\"error_code\": 3}]"] {
        assert_eq!(refusal_of_usher(bad), "without a reason");
    }
    assert_eq!(refusal_of_usher(b"{\"error\": \"a\\nb\"}"), "ab");
}

fn source(usher: &str, codecs: &[VideoCodec]) -> TwitchSource {
    let set = [format!("twitch.usher={usher}")];
    let config = crate::config::Config::load(None, &set, std::iter::empty()).unwrap().config.twitch;
    TwitchSource::new(login(), config, None, Taste { codecs: codecs.to_vec(), url_life: None })
}

#[test]
fn usher_is_asked_for_the_codecs_that_are_accepted() {
    let access = Access { value: "{\"a\": \"b&c\"}".into(), signature: "f00".into() };
    let asked = source("http://127.0.0.1:9/api/hls/", &[VideoCodec::Av1, VideoCodec::Hevc, VideoCodec::H264]);
    let url = asked.usher_url(&access, false, 7);
    assert_eq!(url.path(), "/api/hls/segvault.m3u8");
    let value =
        |url: &Url, name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    assert_eq!(value(&url, "supported_codecs").unwrap(), "av1,h265,h264");
    assert_eq!(value(&url, "token").unwrap(), access.value);
    assert_eq!((value(&url, "sig").unwrap().as_str(), value(&url, "p").unwrap().as_str()), ("f00", "7"));
    assert_eq!(value(&url, "multigroup_video"), None);
    assert_eq!(value(&asked.usher_url(&access, true, 7), "multigroup_video").unwrap(), "true");
}
