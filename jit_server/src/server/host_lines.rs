//! What hosts record: lines of their own event chains, kept as they were written and only where they follow one another.

use std::sync::Arc;

use jit_grant::{ChainHead, Checkpoint, GrantId, HostId, PublicKey};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Server, Writer};
use crate::alarm::Alarm;
use crate::error::Error;
use crate::store::{HostHead, HostLine, HostLines, Kept, Part};
use crate::text::brief;

/// The kind of a line that tells that lines before it are gone.
const LOST: &str = "record.lost";
/// `prev` of the first line of a chain.
const NO_LINE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What of a line the chain needs. jitd writes the event beside the hash of the line before it.
#[derive(Deserialize)]
struct Link {
    event: Numbered,
    prev: ChainHead,
}

#[derive(Deserialize)]
struct Numbered {
    seq: u64,
    kind: String,
    /// Of a loss: the last line before it that the host still has; 0 where it made room, for whoever lacks what was dropped.
    after: Option<u64>,
    /// Of a loss that made room: the first line that the host still has.
    dropped_before: Option<u64>,
}

impl Numbered {
    /// jitd found lines of its own gone (a disk that failed, a hand that deleted) and says so in the next one. That line may
    /// come after a gap; where the host still has lines that are not stored, those are due first.
    fn tells_of_a_loss(&self, stored: u64) -> bool {
        let due_is_gone = self.dropped_before.is_none_or(|first| first > stored + 1);
        self.kind == LOST && self.after.is_some_and(|after| after <= stored) && due_is_gone
    }
}

/// Why lines were refused.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refused {
    /// A line came where another was due.
    Gap { due: u64, came: u64 },
    /// They do not follow, or are not what the host signed.
    Other(String),
}

impl Refused {
    /// After line `stored`, for whoever sent them and for the record.
    fn told(self, stored: u64) -> (Error, Alarm) {
        match self {
            Self::Gap { due, came } => {
                let why = format!("line {came} came where line {due} was due");
                (Error::Chain { stored, why }, Alarm::ChainGap { due, came })
            }
            Self::Other(why) => {
                let why = brief(&why);
                let alarm = Alarm::ChainRefused {
                    stored,
                    why: why.clone(),
                };
                (Error::Chain { stored, why }, alarm)
            }
        }
    }
}

/// Lines that follow what is stored.
#[derive(Debug, Default)]
struct Following {
    lines: Vec<HostLine>,
    /// Before the first line that tells of a loss: the last line before it, and that line itself.
    lost: Option<(u64, u64)>,
}

impl Server {
    /// Keeps lines of `host` that follow what is stored; those stored already are skipped. Returns the number of the last stored, which is all
    /// that is asked for with no lines. What is refused and what is lost is an alarm.
    ///
    /// # Errors
    /// [`Error::Chain`] at a gap, at a line that does not follow the one before, or with a checkpoint that does not fit;
    /// [`Error::TooManyLines`] where the host sent too much of late. Then none of them is kept.
    pub async fn keep_host_lines(
        self: &Arc<Self>,
        host: HostId,
        lines: Vec<String>,
        checkpoint: String,
    ) -> Result<u64, Error> {
        if lines.is_empty() {
            self.host_key(&host).ok_or(Error::UnknownHost)?;
            let stored = self.store.host_head(&host).await?;
            return Ok(stored.map_or(0, |head| head.host_seq));
        }
        let bytes = lines.iter().map(|line| line.len() as u64).sum();
        if !self.room.has(&host, bytes, self.now()) {
            return self.has_no_room(host).await;
        }
        self.uninterrupted(move |server, mut writer| async move {
            let key = server.host_key(&host).ok_or(Error::UnknownHost)?;
            let name =
                server.look(|state| Some(state.directory.host_by_id(&host)?.enrolled.name.clone()));
            let name = name.ok_or(Error::UnknownHost)?;
            let stored = server.store.host_head(&host).await?;
            let at = stored.as_ref().map_or(0, |head| head.host_seq);
            let following = match signed_and_following(&host, key, stored, lines, &checkpoint) {
                Ok(following) => following,
                Err(refused) => {
                    let (error, alarm) = refused.told(at);
                    server.raise_with(&mut writer, Some(name), alarm).await?;
                    return Err(error);
                }
            };
            let Some(last) = following.lines.last().map(|line| line.host_seq) else {
                return Ok(at);
            };
            let batch = HostLines {
                host_id: host,
                host: name.clone(),
                lines: following.lines,
                checkpoint,
            };
            // First: once the lines are stored, they don't come again.
            if let Some((after, next)) = following.lost {
                let alarm = Alarm::RecordLost { after, next };
                server.raise_with(&mut writer, Some(name), alarm).await?;
            }
            server.append_lines(&mut writer, &batch).await?;
            let bytes = batch.lines.iter().map(|line| line.line.len() as u64).sum();
            server.room.fill(&batch.host_id, bytes, server.now());
            Ok(last)
        })
        .await
    }

    /// Refuses what `host` sends beyond its room in the record, and raises an alarm where it is time for one.
    async fn has_no_room(self: &Arc<Self>, host: HostId) -> Result<u64, Error> {
        if !self.room.is_to_be_told(&host, self.now()) {
            return Err(Error::TooManyLines);
        }
        self.uninterrupted(move |server, mut writer| async move {
            let name =
                server.look(|state| Some(state.directory.host_by_id(&host)?.enrolled.name.clone()));
            let raised = async {
                let name = name.ok_or(Error::UnknownHost)?;
                let stored = server.store.host_head(&host).await?;
                let alarm = Alarm::ChainRefused {
                    stored: stored.map_or(0, |head| head.host_seq),
                    why: Error::TooManyLines.to_string(),
                };
                server.raise_with(&mut writer, Some(name), alarm).await
            };
            if let Err(error) = raised.await {
                server.room.was_not_told(&host);
                return Err(error);
            }
            Err(Error::TooManyLines)
        })
        .await
    }

    async fn append_lines(&self, writer: &mut Writer, batch: &HostLines) -> Result<(), Error> {
        let after = writer.place;
        let kept = self.store.append_host_lines(after, batch).await;
        let place = kept.inspect_err(|error| self.failed(error))?;
        self.take_in(writer, &[], &[], place);
        Ok(())
    }
}

impl Server {
    /// Lines of the grant's host about logins, elevations and jobs that the grant held open at their beginning or end; the newest, at most `limit`,
    /// the newest first.
    ///
    /// # Errors
    /// Where the record can't be read.
    pub async fn sessions_of(&self, grant: &GrantId, limit: u32) -> Result<Part<Kept>, Error> {
        match self.look(|state| Some(state.grant(grant)?.host.clone())) {
            Some(host) => Ok(self.store.sessions_of(&host, grant, limit).await?),
            None => Ok(Part::none()),
        }
    }
}

/// [`following`], checked to end with what the host signed.
fn signed_and_following(
    host: &HostId,
    key: PublicKey,
    stored: Option<HostHead>,
    lines: Vec<String>,
    checkpoint: &str,
) -> Result<Following, Refused> {
    let signed = Checkpoint::verify(checkpoint.as_bytes(), host, key)
        .map_err(|error| Refused::Other(error.to_string()))?;
    let following = following(stored, lines)?;
    match following.lines.last() {
        Some(last) if (signed.seq, &signed.head) != (last.host_seq, &last.head) => {
            Err(Refused::Other(format!(
                "the host signed for line {}, these end with line {}",
                signed.seq, last.host_seq
            )))
        }
        _ => Ok(following),
    }
}

/// Those of `lines` that come after `stored`, checked to follow it and one another.
fn following(stored: Option<HostHead>, lines: Vec<String>) -> Result<Following, Refused> {
    let (mut seq, mut head) = match stored {
        Some(stored) => (stored.host_seq, stored.head.to_string()),
        None => (0, NO_LINE.to_owned()),
    };
    let mut new = Following::default();
    for line in lines {
        if line.len() > Checkpoint::LINE_BYTES {
            let (bytes, most) = (line.len(), Checkpoint::LINE_BYTES);
            let why = format!("a line has {bytes} bytes, and no host writes more than {most}");
            return Err(Refused::Other(why));
        }
        let link: Link = serde_json::from_str(&line)
            .map_err(|error| Refused::Other(format!("a line can't be read: {error}")))?;
        let number = link.event.seq;
        // A host can sign for any number, and neither database keeps a larger one.
        if i64::try_from(number).is_err() {
            let why = format!("no chain has a line {number}");
            return Err(Refused::Other(why));
        }
        if number <= seq && new.lines.is_empty() {
            continue;
        }
        let lost = link.event.tells_of_a_loss(seq);
        if number <= seq || (number != seq + 1 && !lost) {
            let (due, came) = (seq + 1, number);
            return Err(Refused::Gap { due, came });
        }
        if link.prev.as_str() != head && !lost {
            let why = format!("line {number} does not name the line before it");
            return Err(Refused::Other(why));
        }
        if lost {
            new.lost.get_or_insert((seq, number));
        }
        let hash = hash(&line).map_err(Refused::Other)?;
        (seq, head) = (number, hash.to_string());
        new.lines.push(HostLine {
            host_seq: number,
            head: hash,
            line,
        });
    }
    Ok(new)
}

fn hash(line: &str) -> Result<ChainHead, String> {
    let hex: String = Sha256::digest(line.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    ChainHead::try_from(hex).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(lines: u64) -> Vec<String> {
        let mut prev = NO_LINE.to_owned();
        let mut all = Vec::new();
        for seq in 1..=lines {
            let line = format!(
                r#"{{"event":{{"seq":{seq},"at":"2026-11-22T12:00:00Z","kind":"login"}},"prev":"{prev}"}}"#
            );
            prev = hash(&line).unwrap().to_string();
            all.push(line);
        }
        all
    }

    fn head(line: &HostLine) -> Option<HostHead> {
        Some(HostHead {
            host_seq: line.host_seq,
            head: line.head.clone(),
        })
    }

    fn new(stored: Option<HostHead>, lines: &[String]) -> Vec<HostLine> {
        following(stored, lines.to_vec()).unwrap().lines
    }

    #[test]
    fn lines_that_follow_are_taken_and_stored_ones_skipped() {
        let all = chain(5);
        let first = new(None, &all[..3]);
        assert_eq!(first.len(), 3);
        let rest = new(head(&first[2]), &all[1..]);
        assert_eq!(
            rest.iter().map(|line| line.host_seq).collect::<Vec<_>>(),
            [4, 5]
        );
        assert!(new(head(rest.last().unwrap()), &all).is_empty());
    }

    #[test]
    fn a_loss_that_the_host_tells_of_is_taken_and_nothing_else_may_skip_lines() {
        let stored = new(None, &chain(3));
        let lost = |after: u64| {
            format!(
                r#"{{"event":{{"seq":9,"kind":"record.lost","after":{after},"checkpoint":8}},"prev":"{NO_LINE}"}}"#
            )
        };
        let taken = following(head(&stored[2]), vec![lost(2)]).unwrap();
        assert_eq!(taken.lost, Some((3, 9)));
        let taken = taken.lines;
        assert_eq!(taken[0].host_seq, 9);
        assert!(
            following(head(&stored[2]), vec![lost(5)]).is_err(),
            "lines 4 and 5 are still there"
        );
        let dropped = |first: u64| {
            let before = format!(r#""dropped_before":{first},"checkpoint""#);
            following(
                head(&stored[2]),
                vec![lost(0).replace(r#""checkpoint""#, &before)],
            )
        };
        assert!(dropped(3).is_err(), "line 4 is still there");
        assert!(dropped(4).is_err(), "line 4 is still there");
        assert_eq!(dropped(5).unwrap().lost, Some((3, 9)));
        assert!(
            new(head(&taken[0]), &[lost(2)]).is_empty(),
            "stored already"
        );
        assert!(
            following(
                head(&stored[2]),
                vec![lost(2).replace("record.lost", "login")]
            )
            .is_err()
        );
    }

    #[test]
    fn a_line_of_a_number_that_no_database_keeps_is_refused() {
        let lost = |seq: u64| {
            format!(
                r#"{{"event":{{"seq":{seq},"kind":"record.lost","after":0}},"prev":"{NO_LINE}"}}"#
            )
        };
        let last = i64::MAX.unsigned_abs();
        let taken = following(None, vec![lost(last)]).unwrap();
        assert_eq!(taken.lost, Some((0, last)));
        for number in [last + 1, u64::MAX] {
            for stored in [None, head(&taken.lines[0])] {
                let refused = following(stored, vec![lost(number)]).unwrap_err();
                assert!(matches!(refused, Refused::Other(_)), "{refused:?}");
            }
        }
    }

    #[test]
    fn a_loss_told_to_somebody_else_is_a_line_like_any_other() {
        let stored = new(None, &chain(8)).pop().unwrap();
        let lost = |prev: &str| {
            format!(
                r#"{{"event":{{"seq":9,"kind":"record.lost","after":0,"dropped_before":5}},"prev":"{prev}"}}"#
            )
        };
        let taken = following(head(&stored), vec![lost(stored.head.as_str())]).unwrap();
        assert_eq!((taken.lines[0].host_seq, taken.lost), (9, None));
        assert!(following(head(&stored), vec![lost(NO_LINE)]).is_err());
    }

    #[test]
    fn what_is_told_of_a_refused_line_is_short_and_shows_as_itself() {
        let line = format!(
            r#"{{"event":{{"seq":"\u001b\u202e{}"}}}}"#,
            "x".repeat(6_000)
        );
        let refused = following(None, vec![line]).unwrap_err();
        let (error, alarm) = refused.told(0);
        let Alarm::ChainRefused { why, .. } = alarm else {
            panic!("{alarm:?}")
        };
        assert_eq!(why.chars().count(), 200, "{why}");
        assert!(!why.contains(['\u{1b}', '\u{202e}']), "{why:?}");
        assert!(why.contains("can't be read") && error.to_string().len() < 1_000);
    }

    #[test]
    fn a_line_that_is_longer_than_hosts_write_is_refused() {
        let line = |bytes: usize| {
            let line = format!(r#"{{"event":{{"seq":1,"kind":""}},"prev":"{NO_LINE}"}}"#);
            let kind = "x".repeat(bytes - line.len());
            line.replace(r#""kind":"""#, &format!(r#""kind":"{kind}""#))
        };
        assert_eq!(new(None, &[line(Checkpoint::LINE_BYTES)]).len(), 1);
        let refused = following(None, vec![line(Checkpoint::LINE_BYTES + 1)]);
        let (_, alarm) = refused.unwrap_err().told(0);
        assert!(matches!(alarm, Alarm::ChainRefused { .. }), "{alarm:?}");
    }

    #[test]
    fn a_gap_a_changed_line_and_a_foreign_beginning_are_refused() {
        let all = chain(4);
        assert!(following(None, all[1..].to_vec()).is_err());
        let gap = following(None, vec![all[0].clone(), all[2].clone()]);
        assert_eq!(gap.unwrap_err(), Refused::Gap { due: 2, came: 3 });
        let mut changed = all.clone();
        changed[1] = changed[1].replace("login", "logout");
        assert!(following(None, changed).is_err());
        assert!(following(None, vec![all[0].clone(), all[0].clone()]).is_err());
    }
}
