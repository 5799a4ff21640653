//! The names of an event's fields, as the database and JSON have them (FORMATS §5).

use std::fmt;

/// A field by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Column {
    Id,
    SheetName,
    EventStart,
    EventEnd,
    Category,
    Description,
    SubmitterWinner,
    PosterMoment,
    ImageLinks,
    Notes,
    Tags,
    AllowHoles,
    UploaderWhitelist,
    UploadLocation,
    Public,
    VideoRanges,
    VideoTransitions,
    VideoTitle,
    VideoDescription,
    VideoTags,
    VideoChannel,
    VideoQuality,
    ThumbnailMode,
    ThumbnailTime,
    ThumbnailTemplate,
    ThumbnailImage,
    ThumbnailCrop,
    ThumbnailLocation,
    ThumbnailLastWritten,
    State,
    Uploader,
    Error,
    VideoId,
    VideoLink,
    Editor,
    EditTime,
    UploadTime,
    LastModified,
}

/// Who writes a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Nobody, ever again.
    Identity,
    /// Whoever notes events.
    Sheet,
    /// An editor.
    Edit,
    /// The steps from state to state.
    Job,
}

impl Column {
    pub const ALL: [Self; 38] = [
        Self::Id,
        Self::SheetName,
        Self::EventStart,
        Self::EventEnd,
        Self::Category,
        Self::Description,
        Self::SubmitterWinner,
        Self::PosterMoment,
        Self::ImageLinks,
        Self::Notes,
        Self::Tags,
        Self::AllowHoles,
        Self::UploaderWhitelist,
        Self::UploadLocation,
        Self::Public,
        Self::VideoRanges,
        Self::VideoTransitions,
        Self::VideoTitle,
        Self::VideoDescription,
        Self::VideoTags,
        Self::VideoChannel,
        Self::VideoQuality,
        Self::ThumbnailMode,
        Self::ThumbnailTime,
        Self::ThumbnailTemplate,
        Self::ThumbnailImage,
        Self::ThumbnailCrop,
        Self::ThumbnailLocation,
        Self::ThumbnailLastWritten,
        Self::State,
        Self::Uploader,
        Self::Error,
        Self::VideoId,
        Self::VideoLink,
        Self::Editor,
        Self::EditTime,
        Self::UploadTime,
        Self::LastModified,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::SheetName => "sheet_name",
            Self::EventStart => "event_start",
            Self::EventEnd => "event_end",
            Self::Category => "category",
            Self::Description => "description",
            Self::SubmitterWinner => "submitter_winner",
            Self::PosterMoment => "poster_moment",
            Self::ImageLinks => "image_links",
            Self::Notes => "notes",
            Self::Tags => "tags",
            Self::AllowHoles => "allow_holes",
            Self::UploaderWhitelist => "uploader_whitelist",
            Self::UploadLocation => "upload_location",
            Self::Public => "public",
            Self::VideoRanges => "video_ranges",
            Self::VideoTransitions => "video_transitions",
            Self::VideoTitle => "video_title",
            Self::VideoDescription => "video_description",
            Self::VideoTags => "video_tags",
            Self::VideoChannel => "video_channel",
            Self::VideoQuality => "video_quality",
            Self::ThumbnailMode => "thumbnail_mode",
            Self::ThumbnailTime => "thumbnail_time",
            Self::ThumbnailTemplate => "thumbnail_template",
            Self::ThumbnailImage => "thumbnail_image",
            Self::ThumbnailCrop => "thumbnail_crop",
            Self::ThumbnailLocation => "thumbnail_location",
            Self::ThumbnailLastWritten => "thumbnail_last_written",
            Self::State => "state",
            Self::Uploader => "uploader",
            Self::Error => "error",
            Self::VideoId => "video_id",
            Self::VideoLink => "video_link",
            Self::Editor => "editor",
            Self::EditTime => "edit_time",
            Self::UploadTime => "upload_time",
            Self::LastModified => "last_modified",
        }
    }

    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.as_str() == name)
    }

    pub fn kind(self) -> ColumnKind {
        // The order of `ALL` is the order of their kinds.
        match self as usize {
            0 => ColumnKind::Identity,
            1..=10 => ColumnKind::Sheet,
            // What the destination has is no editor's to say.
            at if at < Self::ThumbnailLastWritten as usize => ColumnKind::Edit,
            _ => ColumnKind::Job,
        }
    }

    /// Whether it can be changed of a video that is published.
    pub fn is_modifiable(self) -> bool {
        matches!(
            self,
            Self::Public
                | Self::VideoTitle
                | Self::VideoDescription
                | Self::VideoTags
                | Self::ThumbnailMode
                | Self::ThumbnailTime
                | Self::ThumbnailTemplate
                | Self::ThumbnailImage
                | Self::ThumbnailCrop
                | Self::ThumbnailLocation
        )
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_column_has_one_writer() {
        let of = |kind: ColumnKind| Column::ALL.into_iter().filter(move |column| column.kind() == kind);
        assert_eq!(of(ColumnKind::Identity).collect::<Vec<_>>(), [Column::Id]);
        assert_eq!(
            (of(ColumnKind::Sheet).next(), of(ColumnKind::Sheet).next_back()),
            (Some(Column::SheetName), Some(Column::Tags))
        );
        assert_eq!(of(ColumnKind::Edit).next(), Some(Column::AllowHoles));
        assert_eq!(of(ColumnKind::Edit).next_back(), Some(Column::ThumbnailLocation));
        assert_eq!(of(ColumnKind::Job).next(), Some(Column::ThumbnailLastWritten));
        assert!(Column::ALL.iter().all(|column| !column.is_modifiable() || column.kind() == ColumnKind::Edit));
        assert!(Column::ALL.iter().all(|column| Column::by_name(column.as_str()) == Some(*column)));
    }
}
