use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::rc::Rc;
use std::sync::OnceLock;

use awc::http::StatusCode;
use tempfile::TempDir;

use super::flaky::FlakyProxy;
use super::{content, destination, open, send_until, shut, upload};
use segvault::clock::Clock;
use segvault::upload::{Destination, Held, Progress, Transcoding, Upload, UploadError, VideoMetadata};

use crate::dice::{Dice, seed};

const MIB: usize = 1 << 20;

/// A running S3-compatible store, one for all tests. It ends when nothing holds its input any more.
struct Store {
    port: u16,
    _process: Child,
    _input: ChildStdin,
}

fn store() -> u16 {
    static STORE: OnceLock<Store> = OnceLock::new();
    STORE
        .get_or_init(|| {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
            let mut process = Command::new(target.join("s3-store/bin/python"))
                .arg(root.join("tests/it/uploads/store.py"))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("scripts/deps.sh test installs the store");
            let mut line = String::new();
            BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let input = process.stdin.take().unwrap();
            Store { port: line.trim().parse().expect("the store says its port"), _process: process, _input: input }
        })
        .port
}

/// A bucket of its own, behind a proxy of its own.
struct Bucket {
    dir: TempDir,
    proxy: FlakyProxy,
    name: String,
    s3: Rc<dyn Destination>,
}

/// As anybody asks the store, who need not be known.
async fn ask(method: &str, path: &str) -> (StatusCode, Vec<u8>) {
    let known = "AWS4-HMAC-SHA256 Credential=test/20130524/us-east-1/s3/aws4_request,SignedHeaders=host,Signature=1";
    let client = awc::Client::default();
    let url = format!("http://127.0.0.1:{}{path}", store());
    let request = client.request(method.parse().unwrap(), url).insert_header(("authorization", known));
    let mut answer = request.timeout(std::time::Duration::from_secs(60)).send().await.unwrap();
    let body = if method == "HEAD" { Vec::new() } else { answer.body().limit(1 << 30).await.unwrap().to_vec() };
    (answer.status(), body)
}

impl Bucket {
    async fn new(more: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let proxy = FlakyProxy::before(store());
        let name = format!("b{}", dir.path().file_name().unwrap().to_str().unwrap().replace('.', "").to_lowercase());
        assert_eq!(ask("PUT", &format!("/{name}")).await.0, StatusCode::OK);
        let keys = dir.path().join("keys");
        std::fs::write(&keys, "[default]\naws_access_key_id = test\naws_secret_access_key = hush\n").unwrap();
        let config = format!(
            "[upload.shelf]\ntype = \"s3\"\nendpoint = \"http://127.0.0.1:{}\"\nbucket = {name:?}\nprefix = \"vid/\"\n\
             credentials_file = {keys:?}\npart_size = \"5MiB\"\n{more}",
            proxy.port
        );
        let s3 = destination(dir.path(), &Clock::system(), &config);
        Self { dir, proxy, name, s3 }
    }

    fn upload(&self, key: &str, len_bytes: usize) -> (Upload, Vec<u8>) {
        let content = content(len_bytes, 7);
        (upload(self.dir.path(), key, &content), content)
    }

    async fn object(&self, name: &str) -> Option<Vec<u8>> {
        let (status, body) = ask("GET", &format!("/{}/{name}", self.name)).await;
        (status == StatusCode::OK).then_some(body)
    }

    /// How many uploads are under way.
    async fn under_way(&self) -> usize {
        let (_, body) = ask("GET", &format!("/{}?uploads=", self.name)).await;
        String::from_utf8(body).unwrap().matches("<Upload>").count()
    }

    /// How much has gone to the store, once nothing is on its way any more.
    async fn all_carried(&self) -> u64 {
        let carried = || self.proxy.faults.lock().unwrap().carried_bytes;
        loop {
            let before = carried();
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            if carried() == before {
                return before;
            }
        }
    }

    async fn names(&self) -> Vec<String> {
        let (_, body) = ask("GET", &format!("/{}?list-type=2", self.name)).await;
        let text = String::from_utf8(body).unwrap();
        text.split("<Key>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned()).collect()
    }
}

#[actix_rt::test]
async fn a_video_comes_to_the_bucket_whole_and_says_whose_it_is() {
    let bucket = Bucket::new("url_prefix = \"https://videos.example/\"\n").await;
    let (upload, content) = bucket.upload("e-1.3", 11 * MIB + 17);
    assert_eq!(bucket.s3.held(&upload, None).await.unwrap(), Held::Nothing);
    let ticket = bucket.s3.begin(&upload).await.unwrap();
    assert_eq!(bucket.s3.held(&upload, Some(&ticket)).await.unwrap(), Held::Some { bytes: 0 });
    let progress = Progress::default();
    let published = bucket.s3.send(&upload, &ticket, 0, &progress, open()).await.unwrap();
    assert_eq!(published.link, "https://videos.example/vid/e-1.3.mp4");
    assert_eq!((progress.bytes(), published.is_transcoding), (upload.len_bytes, false));
    assert!(bucket.object("vid/e-1.3.mp4").await.unwrap() == content);
    let sidecar = bucket.object("vid/e-1.3.json").await.unwrap();
    let sidecar: serde_json::Value = serde_json::from_slice(&sidecar).unwrap();
    assert_eq!((&sidecar["title"], &sidecar["event"]["id"]), (&"A fast run".into(), &"e-1.3".into()));
    assert_eq!(bucket.object("vid/e-1.3.png").await.unwrap(), *upload.thumbnail.as_ref().unwrap().image);
    // Whoever asks later, with or without a ticket, finds it.
    assert_eq!(bucket.s3.held(&upload, Some(&ticket)).await.unwrap(), Held::Whole(published.clone()));
    assert_eq!(bucket.s3.held(&upload, None).await.unwrap(), Held::Whole(published.clone()));
    assert_eq!(bucket.s3.transcoding(&published.video_id).await.unwrap(), Transcoding::Done);
    let metadata = VideoMetadata { title: "A faster run".into(), ..upload.metadata.clone() };
    bucket.s3.modify(&published.video_id, &metadata, None).await.unwrap();
    let sidecar = bucket.object("vid/e-1.3.json").await.unwrap();
    let sidecar: serde_json::Value = serde_json::from_slice(&sidecar).unwrap();
    assert_eq!((&sidecar["title"], &sidecar["event"]["id"]), (&"A faster run".into(), &"e-1.3".into()));
    let absent = bucket.s3.modify("vid/other.mp4", &metadata, None).await.unwrap_err();
    assert!(matches!(absent, UploadError::NoVideo { .. }), "{absent}");
    // What a late discard finds stays.
    bucket.s3.discard(&upload, &ticket).await.unwrap();
    assert_eq!(bucket.names().await, ["vid/e-1.3.json", "vid/e-1.3.mp4", "vid/e-1.3.png"]);
}

#[actix_rt::test]
async fn what_is_there_after_a_crash_is_not_sent_again() {
    let bucket = Bucket::new("").await;
    let (upload, content) = bucket.upload("e-2.1", 23 * MIB);
    let ticket = bucket.s3.begin(&upload).await.unwrap();
    send_until(&*bucket.s3, &upload, &ticket, 16 * MIB as u64).await;
    let Held::Some { bytes } = bucket.s3.held(&upload, Some(&ticket)).await.unwrap() else {
        panic!("nothing is there")
    };
    assert!((15 * MIB as u64..=20 * MIB as u64).contains(&bytes), "{bytes}");
    let before = bucket.all_carried().await;
    let progress = Progress::default();
    bucket.s3.send(&upload, &ticket, bytes, &progress, open()).await.unwrap();
    assert!(bucket.object("vid/e-2.1.mp4").await.unwrap() == content);
    // What was on its way at the crash may have come to the store after it was asked: then even less is sent.
    let again = bucket.all_carried().await - before;
    let missing = upload.len_bytes - bytes;
    assert!((1..missing + 100_000).contains(&again), "{again} bytes for {missing} that were missing");
}

#[actix_rt::test]
async fn a_lost_answer_to_the_last_step_is_asked_for() {
    let bucket = Bucket::new("").await;
    let (upload, content) = bucket.upload("e-3.1", MIB);
    let ticket = bucket.s3.begin(&upload).await.unwrap();
    let faults = &bucket.proxy.faults;
    faults.lock().unwrap().drop_answer_to = Some("<CompleteMultipartUpload ");
    bucket.s3.send(&upload, &ticket, 0, &Progress::default(), open()).await.unwrap();
    assert_eq!(faults.lock().unwrap().drop_answer_to, None, "no answer was lost");
    assert!(bucket.object("vid/e-3.1.mp4").await.unwrap() == content);
    assert_eq!(bucket.under_way().await, 0);
}

#[actix_rt::test]
async fn a_video_that_was_taken_back_does_not_exist() {
    let bucket = Bucket::new("").await;
    let (upload, _) = bucket.upload("e-4.1", 6 * MIB);
    let ticket = bucket.s3.begin(&upload).await.unwrap();
    let taken_back = bucket.s3.send(&upload, &ticket, 0, &Progress::default(), shut()).await.unwrap_err();
    assert!(matches!(taken_back, UploadError::Withdrawn(_)), "{taken_back}");
    assert_eq!(bucket.s3.held(&upload, Some(&ticket)).await.unwrap(), Held::Some { bytes: upload.len_bytes });
    bucket.s3.discard(&upload, &ticket).await.unwrap();
    bucket.s3.discard(&upload, &ticket).await.unwrap();
    assert_eq!((bucket.names().await, bucket.under_way().await), (Vec::<String>::new(), 0));
    assert_eq!(bucket.s3.held(&upload, Some(&ticket)).await.unwrap(), Held::Nothing);
    let late = bucket.s3.send(&upload, &ticket, 0, &Progress::default(), open()).await.unwrap_err();
    assert!(matches!(late, UploadError::TicketGone { .. }), "{late}");
}

#[actix_rt::test]
async fn what_was_begun_and_forgotten_is_given_up() {
    let bucket = Bucket::new("").await;
    let (upload, _) = bucket.upload("e-5.1", MIB);
    let (other, _) = bucket.upload("e-5.11", MIB);
    bucket.s3.begin(&other).await.unwrap();
    bucket.s3.begin(&upload).await.unwrap();
    let ticket = bucket.s3.begin(&upload).await.unwrap();
    assert_eq!(bucket.under_way().await, 2, "one of each key");
    bucket.s3.send(&upload, &ticket, 0, &Progress::default(), open()).await.unwrap();
}

#[actix_rt::test]
async fn what_others_put_there_is_not_written_over() {
    let bucket = Bucket::new("").await;
    let (upload, _) = bucket.upload("e-6.1", MIB);
    let ticket = bucket.s3.begin(&upload).await.unwrap();
    let theirs = format!("/{}/vid/e-6.1.mp4", bucket.name);
    assert_eq!(ask("PUT", &theirs).await.0, StatusCode::OK);
    let refused = bucket.s3.send(&upload, &ticket, 0, &Progress::default(), open()).await.unwrap_err();
    assert!(matches!(refused, UploadError::Refused { .. }), "{refused}");
    assert_eq!(bucket.object("vid/e-6.1.mp4").await.unwrap(), b"");
    assert!(matches!(bucket.s3.held(&upload, Some(&ticket)).await.unwrap(), Held::Unknowable { .. }));
}

#[actix_rt::test]
async fn whatever_breaks_there_is_one_whole_video() {
    whatever_breaks(3).await;
}

#[actix_rt::test]
#[ignore = "takes minutes; run by `make soak`"]
async fn soak_whatever_breaks_there_is_one_whole_video() {
    whatever_breaks(75).await;
}

async fn whatever_breaks(rounds: usize) {
    let mut dice = Dice::new(seed(1));
    let bucket = Bucket::new("").await;
    for round in 0..rounds {
        let key = format!("e-7.{round}");
        let (upload, content) = bucket.upload(&key, dice.below(17 << 20) as usize + 1);
        {
            let mut faults = bucket.proxy.faults.lock().unwrap();
            (faults.dice, faults.faults_left) = (Some(dice.fork()), 12);
        }
        // As a job does it: what is stored before each act is all that outlives a try.
        let (mut ticket, mut tries) = (None, 0);
        let published = loop {
            tries += 1;
            assert!(tries < 100, "it does not end");
            match bucket.s3.held(&upload, ticket.as_ref()).await {
                Ok(Held::Whole(published)) => break published,
                Ok(Held::Nothing) => ticket = bucket.s3.begin(&upload).await.ok(),
                Ok(Held::Unknowable { why }) => panic!("{why}"),
                Ok(Held::Some { bytes }) => {
                    let ticket = ticket.as_ref().unwrap();
                    let progress = Progress::default();
                    let sending = bucket.s3.send(&upload, ticket, bytes, &progress, open());
                    // Now and then the process is killed.
                    let life = std::time::Duration::from_millis(20 + dice.below(3000));
                    if let Ok(Err(error)) = tokio::time::timeout(life, sending).await {
                        assert!(error.is_retryable(), "{error}");
                    }
                }
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        };
        assert_eq!(published.video_id, format!("vid/{key}.mp4"));
        assert!(bucket.object(&published.video_id).await.unwrap() == content);
        assert_eq!(bucket.under_way().await, 0);
    }
    assert_eq!(bucket.names().await.iter().filter(|name| name.ends_with(".mp4")).count(), rounds);
}
