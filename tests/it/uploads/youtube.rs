use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::stand_in::StandIn;
use super::{content, destination, open, send_until, shut, upload};
use crate::dice::{Dice, seed};
use segvault::clock::Clock;
use segvault::upload::{Destination, Held, Progress, Transcoding, Upload, UploadError, VideoMetadata};

const BEGIN: &str = "POST /upload/youtube/v3/videos";
const UPDATE: &str = "PUT /youtube/v3/videos";
const KIB: usize = 1 << 10;

/// A channel of its own.
struct Channel {
    dir: TempDir,
    stand_in: StandIn,
    youtube: Rc<dyn Destination>,
}

impl Channel {
    fn new(more: &str) -> Self {
        Self::at(&Clock::system(), more)
    }

    fn at(clock: &Clock, more: &str) -> Self {
        let (dir, stand_in) = (TempDir::new().unwrap(), StandIn::start());
        let secrets = dir.path().join("secrets");
        let account = json!({"client_id": "me", "client_secret": "hush", "refresh_token": "refresh/me"});
        std::fs::write(&secrets, account.to_string()).unwrap();
        let port = stand_in.port;
        let config = format!(
            "[upload.channel]\ntype = \"youtube\"\ncredentials_file = {secrets:?}\nchunk_size = \"512KiB\"\n\
             api = \"http://127.0.0.1:{port}\"\ntoken_url = \"http://127.0.0.1:{port}/token\"\n{more}"
        );
        let youtube = destination(dir.path(), clock, &config);
        Self { dir, stand_in, youtube }
    }

    fn upload(&self, key: &str, len_bytes: usize) -> Upload {
        upload(self.dir.path(), key, &content(len_bytes, 7))
    }

    fn assert_one_whole_video(&self, upload: &Upload) {
        let youtube = self.stand_in.now();
        let of_it: Vec<_> = youtube.videos.iter().filter(|video| video.sha256 == upload.sha256).collect();
        assert_eq!((of_it.len(), youtube.videos.len()), (1, 1));
        assert_eq!(of_it[0].bytes, upload.len_bytes);
    }
}

#[actix_rt::test]
async fn a_video_comes_to_the_channel_as_it_is_described() {
    let channel = Channel::new("category = 24\nlanguage = \"en\"\n");
    let upload = channel.upload("e-1.3", 1300 * KIB + 17);
    assert_eq!(channel.youtube.held(&upload, None).await.unwrap(), Held::Nothing);
    let ticket = channel.youtube.begin(&upload).await.unwrap();
    assert!(!format!("{ticket:?}").contains("session"));
    assert_eq!(channel.youtube.held(&upload, Some(&ticket)).await.unwrap(), Held::Some { bytes: 0 });
    let progress = Progress::default();
    let published = channel.youtube.send(&upload, &ticket, 0, &progress, open()).await.unwrap();
    assert_eq!((progress.bytes(), published.is_transcoding, &published.lacks), (upload.len_bytes, true, &None));
    assert_eq!(published.link, format!("https://youtu.be/{}", published.video_id));
    channel.assert_one_whole_video(&upload);
    {
        let youtube = channel.stand_in.now();
        let video = &youtube.videos[0];
        assert_eq!((&video.snippet["title"], &video.snippet["categoryId"]), (&json!("A fast run"), &json!("24")));
        let tags = video.snippet["tags"].as_array().unwrap();
        assert_eq!(tags[..2], [json!("run"), json!("fast")]);
        assert!(tags.len() == 3 && tags[2].as_str().unwrap().starts_with("segvault-"), "{tags:?}");
        assert_eq!(video.status["privacyStatus"], "public");
        assert_eq!(video.thumbnail.as_deref(), upload.thumbnail.as_ref().map(|thumbnail| &*thumbnail.image));
        assert_eq!((youtube.count(BEGIN), youtube.refreshed), (1, 1));
    }
    assert_eq!(channel.youtube.held(&upload, Some(&ticket)).await.unwrap(), Held::Whole(published.clone()));
    assert_eq!(channel.youtube.transcoding(&published.video_id).await.unwrap(), Transcoding::Working);
    channel.stand_in.now().videos[0].status["uploadStatus"] = json!("processed");
    assert_eq!(channel.youtube.transcoding(&published.video_id).await.unwrap(), Transcoding::Done);
    let unknown = channel.youtube.transcoding("other").await.unwrap_err();
    assert!(matches!(unknown, UploadError::NoVideo { .. }), "{unknown}");
    let metadata = VideoMetadata { title: "A faster run".into(), is_public: false, ..upload.metadata.clone() };
    for _ in 0..2 {
        channel.youtube.modify(&published.video_id, &metadata, None).await.unwrap();
    }
    let youtube = channel.stand_in.now();
    assert_eq!(youtube.count(UPDATE), 1, "what is so already is not asked for");
    let video = &youtube.videos[0];
    assert_eq!((&video.snippet["title"], &video.status["privacyStatus"]), (&json!("A faster run"), &json!("unlisted")));
    assert_eq!((&video.snippet["categoryId"], video.snippet["tags"].as_array().unwrap().len()), (&json!("24"), 3));
}

#[actix_rt::test]
async fn an_upload_goes_on_where_a_crash_left_it() {
    let channel = Channel::new("");
    let upload = channel.upload("e-2.1", 4000 * KIB);
    let ticket = channel.youtube.begin(&upload).await.unwrap();
    send_until(&*channel.youtube, &upload, &ticket, 2600 << 10).await;
    // What was on its way still comes.
    let Held::Some { bytes } = channel.youtube.held(&upload, Some(&ticket)).await.unwrap() else { panic!("nothing") };
    assert!(bytes >= 2048 << 10, "{bytes}");
    let before = channel.stand_in.now().carried_bytes;
    channel.youtube.send(&upload, &ticket, bytes, &Progress::default(), open()).await.unwrap();
    channel.assert_one_whole_video(&upload);
    let again = channel.stand_in.now().carried_bytes - before;
    assert!(again <= upload.len_bytes - bytes, "{again} bytes for {} that were missing", upload.len_bytes - bytes);
    assert_eq!(channel.stand_in.now().count(BEGIN), 1);
}

#[actix_rt::test]
async fn an_answer_that_is_lost_after_the_last_byte_is_asked_for() {
    let channel = Channel::new("");
    let upload = channel.upload("e-3.1", 700 * KIB);
    let ticket = channel.youtube.begin(&upload).await.unwrap();
    channel.stand_in.now().loses_last_answer = true;
    channel.youtube.send(&upload, &ticket, 0, &Progress::default(), open()).await.unwrap();
    assert!(!channel.stand_in.now().loses_last_answer, "no answer was lost");
    channel.assert_one_whole_video(&upload);
    assert_eq!(channel.stand_in.now().carried_bytes, upload.len_bytes);
}

#[actix_rt::test]
async fn a_video_whose_session_is_forgotten_is_found_by_its_mark() {
    let channel = Channel::new("settle = \"1m\"\n");
    // Others are on the channel, on more than one page.
    for number in 0..60 {
        let other = Upload { thumbnail: None, ..channel.upload(&format!("o.{number}"), 10) };
        let ticket = channel.youtube.begin(&other).await.unwrap();
        channel.youtube.send(&other, &ticket, 0, &Progress::default(), open()).await.unwrap();
        if number == 7 {
            let upload = channel.upload("e-4.1", 700 * KIB);
            let ticket = channel.youtube.begin(&upload).await.unwrap();
            channel.youtube.send(&upload, &ticket, 0, &Progress::default(), open()).await.unwrap();
        }
    }
    let upload = channel.upload("e-4.1", 700 * KIB);
    let ticket = channel.youtube.begin(&upload).await.unwrap();
    channel.stand_in.now().forget_sessions();
    channel.stand_in.now().listed_after = Duration::from_secs(3600);
    let late = channel.youtube.held(&upload, Some(&ticket)).await.unwrap_err();
    assert!(matches!(&late, UploadError::Busy { retry_after: Some(_), .. }), "{late}");
    channel.stand_in.now().listed_after = Duration::ZERO;
    let Held::Whole(found) = channel.youtube.held(&upload, Some(&ticket)).await.unwrap() else { panic!("not found") };
    let youtube = channel.stand_in.now();
    let video = youtube.videos.iter().find(|video| video.id == found.video_id).unwrap();
    assert_eq!((video.sha256, youtube.videos.len()), (upload.sha256, 61));
}

#[actix_rt::test]
async fn a_session_that_led_to_nothing_is_begun_anew_after_a_while() {
    let channel = Channel::new("settle = \"300ms\"\n");
    let upload = channel.upload("e-5.1", 700 * KIB);
    let ticket = channel.youtube.begin(&upload).await.unwrap();
    channel.stand_in.now().forget_sessions();
    let unsure = channel.youtube.send(&upload, &ticket, 0, &Progress::default(), open()).await.unwrap_err();
    assert!(unsure.is_unsure(), "{unsure}");
    assert!(channel.youtube.held(&upload, Some(&ticket)).await.is_err(), "nothing was believed at once");
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(channel.youtube.held(&upload, Some(&ticket)).await.unwrap(), Held::Nothing);
    let ticket = channel.youtube.begin(&upload).await.unwrap();
    channel.youtube.send(&upload, &ticket, 0, &Progress::default(), open()).await.unwrap();
    channel.assert_one_whole_video(&upload);
}

#[actix_rt::test]
async fn a_video_that_was_taken_back_does_not_exist() {
    let channel = Channel::new("");
    let upload = channel.upload("e-6.1", 1300 * KIB);
    let ticket = channel.youtube.begin(&upload).await.unwrap();
    let taken_back = channel.youtube.send(&upload, &ticket, 0, &Progress::default(), shut()).await.unwrap_err();
    assert!(matches!(taken_back, UploadError::Withdrawn(_)), "{taken_back}");
    channel.youtube.discard(&upload, &ticket).await.unwrap();
    channel.youtube.discard(&upload, &ticket).await.unwrap();
    assert!(channel.youtube.send(&upload, &ticket, 0, &Progress::default(), open()).await.is_err());
    let youtube = channel.stand_in.now();
    assert_eq!((youtube.videos.len(), youtube.sessions()), (0, 0));
}

#[actix_rt::test]
async fn another_cut_is_not_sent_behind_the_first_one() {
    let channel = Channel::new("");
    let upload = channel.upload("e-11.1", 1300 * KIB);
    let ticket = channel.youtube.begin(&upload).await.unwrap();
    send_until(&*channel.youtube, &upload, &ticket, 600 << 10).await;
    let anew = super::upload(channel.dir.path(), "e-11.1", &content(1300 * KIB, 8));
    assert_eq!(channel.youtube.held(&anew, Some(&ticket)).await.unwrap(), Held::Nothing);
    let gone = channel.youtube.send(&anew, &ticket, 0, &Progress::default(), open()).await.unwrap_err();
    assert!(matches!(gone, UploadError::TicketGone { .. }), "{gone}");
    let ticket = channel.youtube.begin(&anew).await.unwrap();
    channel.youtube.send(&anew, &ticket, 0, &Progress::default(), open()).await.unwrap();
    channel.assert_one_whole_video(&anew);
}

#[actix_rt::test]
async fn a_budget_that_is_spent_waits_for_midnight_in_california() {
    let (clock, hand) = Clock::settable("2026-07-02T06:00:00".parse().unwrap());
    let channel = Channel::at(&clock, "uploads_per_day = 2\n");
    let upload = channel.upload("e-7.1", 10);
    for _ in 0..2 {
        channel.youtube.begin(&upload).await.unwrap();
    }
    let spent = channel.youtube.begin(&upload).await.unwrap_err();
    assert_eq!((spent.is_retryable(), spent.retry_after()), (true, Some(Duration::from_secs(3600))), "{spent}");
    assert_eq!(channel.stand_in.now().count(BEGIN), 2);
    hand.advance(Duration::from_secs(3600));
    channel.youtube.begin(&upload).await.unwrap();
    // Others spend of the same quota.
    channel.stand_in.now().refusals.push((BEGIN, 403, "quotaExceeded"));
    for _ in 0..2 {
        let spent = channel.youtube.begin(&upload).await.unwrap_err();
        assert_eq!(spent.retry_after(), Some(Duration::from_secs(86_400)), "{spent}");
    }
    assert_eq!(channel.stand_in.now().count(BEGIN), 4, "what Google refused was asked again");
}

#[actix_rt::test]
async fn what_google_refuses_is_not_asked_again() {
    let channel = Channel::new("");
    let upload = channel.upload("e-8.1", 10);
    for (status, reason, remedy) in
        [(400, "invalidTitle", "title"), (400, "uploadLimitExceeded", "24 hours"), (403, "forbidden", "may upload")]
    {
        let before = channel.stand_in.now().count(BEGIN);
        channel.stand_in.now().refusals.push((BEGIN, status, reason));
        let refused = channel.youtube.begin(&upload).await.unwrap_err();
        assert!(!refused.is_retryable() && refused.to_string().contains(remedy), "{refused}");
        assert_eq!(channel.stand_in.now().count(BEGIN), before + 1);
    }
    let large = vec![0; (2 << 20) + 1];
    let mut upload = channel.upload("e-8.2", 10);
    upload.thumbnail.as_mut().unwrap().image = large.into();
    let before = channel.stand_in.now().asked.len();
    let refused = channel.youtube.begin(&upload).await.unwrap_err();
    assert!(refused.to_string().contains("smaller thumbnail"), "{refused}");
    assert_eq!(channel.stand_in.now().asked.len(), before, "it was asked for all the same");
    // A thumbnail that YouTube does not like keeps no video from its viewers.
    let upload = channel.upload("e-8.3", 10);
    let ticket = channel.youtube.begin(&upload).await.unwrap();
    channel.stand_in.now().refusals.push(("POST /upload/youtube/v3/thumbnails/set", 400, "invalidImage"));
    let published = channel.youtube.send(&upload, &ticket, 0, &Progress::default(), open()).await.unwrap();
    assert!(published.lacks.unwrap().contains("another thumbnail"));
}

#[actix_rt::test]
async fn a_token_is_asked_for_once_and_anew_when_it_is_refused() {
    let channel = Channel::new("");
    let uploads: Vec<Upload> = (0..5).map(|number| channel.upload(&format!("e-9.{number}"), 10)).collect();
    let begun = futures_util::future::join_all(uploads.iter().map(|upload| channel.youtube.begin(upload))).await;
    assert!(begun.iter().all(Result::is_ok));
    assert_eq!(channel.stand_in.now().refreshed, 1, "several asked at once");
    channel.stand_in.now().good_from = 2;
    channel.youtube.begin(&uploads[0]).await.unwrap();
    assert_eq!(channel.stand_in.now().refreshed, 2);
    // That it does not take the new one either is its own trouble: it has just given it.
    channel.stand_in.now().refusals.extend([(BEGIN, 401, "authError"); 2]);
    channel.youtube.begin(&uploads[0]).await.unwrap();
    assert_eq!(channel.stand_in.now().refreshed, 4);
    {
        let mut youtube = channel.stand_in.now();
        (youtube.good_from, youtube.is_revoked) = (5, true);
    }
    let revoked = channel.youtube.begin(&uploads[0]).await.unwrap_err();
    let text = format!("{revoked} {revoked:?}");
    assert!(!revoked.is_retryable() && text.contains("make a new one"), "{text}");
    assert!(!["hush", "refresh/me", "token-4"].iter().any(|secret| text.contains(secret)), "{text}");
}

#[actix_rt::test]
async fn whatever_it_does_there_is_one_whole_video() {
    whatever_it_does(4).await;
}

#[actix_rt::test]
#[ignore = "takes minutes; run by `make soak`"]
async fn soak_whatever_it_does_there_is_one_whole_video() {
    whatever_it_does(100).await;
}

async fn whatever_it_does(rounds: u64) {
    let mut dice = Dice::new(seed(1));
    for round in 0..rounds {
        let channel = Channel::new("settle = \"400ms\"\n");
        let upload = channel.upload(&format!("e-10.{round}"), dice.below(4 << 20) as usize + 1);
        {
            let mut youtube = channel.stand_in.now();
            youtube.listed_after = Duration::from_millis(dice.below(250));
            (youtube.dice, youtube.faults_left) = (Some(dice.fork()), 15);
        }
        // As a job does it: what is stored before each act is all that outlives a try.
        let (mut ticket, mut tries) = (None, 0);
        let published = loop {
            tries += 1;
            assert!(tries < 300, "it does not end");
            match channel.youtube.held(&upload, ticket.as_ref()).await {
                Ok(Held::Whole(published)) => break published,
                Ok(Held::Nothing) => ticket = channel.youtube.begin(&upload).await.ok(),
                Ok(Held::Unknowable { why }) => panic!("{why}"),
                Ok(Held::Some { bytes }) => {
                    let (ticket, progress) = (ticket.as_ref().unwrap(), Progress::default());
                    let sending = channel.youtube.send(&upload, ticket, bytes, &progress, open());
                    // Now and then the process is killed.
                    let life = Duration::from_millis(20 + dice.below(3000));
                    if let Ok(Err(error)) = tokio::time::timeout(life, sending).await {
                        assert!(error.is_retryable(), "{error}");
                    }
                }
                Err(error) => {
                    assert!(error.is_retryable(), "{error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        };
        channel.assert_one_whole_video(&upload);
        assert_eq!(published.video_id, channel.stand_in.now().videos[0].id);
    }
}
