use super::*;
use jit_grant::SigningKey;

struct Folder {
    folder: tempfile::TempDir,
    key: SigningKey,
    host: HostId,
}

impl Folder {
    /// A chain of `count` events in segments of three, with a signed checkpoint over all of them.
    fn with(count: u64) -> Self {
        let folder = Self {
            folder: tempfile::tempdir().expect("a folder"),
            key: SigningKey::generate().expect("a key"),
            host: format!("h{}", "0".repeat(32)).parse().expect("an id"),
        };
        let mut head = NO_LINE.to_owned();
        for seq in 1..=count {
            let line =
                format!("{{\"event\":{{\"seq\":{seq},\"kind\":\"test\"}},\"prev\":\"{head}\"}}");
            head = Sha256::digest(line.as_bytes())
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            folder.edit((seq - 1) / 3 * 3 + 1, |text| format!("{text}{line}\n"));
        }
        let at = "2026-11-22T19:00:00Z".parse().expect("a time");
        let token = Checkpoint {
            host: folder.host.clone(),
            seq: count,
            head: head.parse().expect("a head"),
            at,
        }
        .sign(&folder.key)
        .expect("signed");
        let stored = serde_json::json!({ "seq": count, "head": head, "token": token });
        fs::write(
            folder.folder.path().join("checkpoint.json"),
            stored.to_string(),
        )
        .expect("written");
        folder
    }

    fn segment(&self, first: u64) -> PathBuf {
        self.folder.path().join(format!("{first:020}.jsonl"))
    }

    fn edit(&self, first: u64, edit: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(self.segment(first)).unwrap_or_default();
        fs::write(self.segment(first), edit(text)).expect("written");
    }

    fn verify(&self) -> Findings {
        verify(self.folder.path(), Some((&self.host, self.key.public()))).expect("readable")
    }
}

#[test]
fn a_whole_chain_is_found_whole() {
    let found = Folder::with(8).verify();
    assert_eq!(
        (found.first, found.last, found.events, found.checkpoint),
        (1, 8, 8, Some(8))
    );
    assert!(found.signature_checked);
    assert!(found.problems.is_empty(), "{:?}", found.problems);
}

#[test]
fn a_changed_event_shows() {
    let folder = Folder::with(8);
    folder.edit(4, |text| text.replacen("test", "best", 1));
    assert_eq!(
        folder.verify().problems,
        ["event 5 does not follow from the line before it: one of them was changed or taken out"]
    );
}

#[test]
fn an_event_taken_out_shows() {
    let folder = Folder::with(8);
    folder.edit(4, |text| {
        text.lines()
            .filter(|line| !line.contains("\"seq\":5,"))
            .map(|line| format!("{line}\n"))
            .collect()
    });
    assert_eq!(folder.verify().problems.len(), 2);
}

#[test]
fn a_whole_segment_taken_out_shows() {
    let folder = Folder::with(8);
    fs::remove_file(folder.segment(4)).expect("removed");
    assert!(!folder.verify().problems.is_empty());
}

#[test]
fn an_end_taken_off_shows_against_the_checkpoint() {
    let folder = Folder::with(8);
    fs::remove_file(folder.segment(7)).expect("removed");
    assert_eq!(
        folder.verify().problems,
        ["the host signed 8 events, and the chain ends at 6: the end was taken off"]
    );
}

#[test]
fn a_chain_forged_anew_is_not_the_one_that_the_host_signed() {
    let folder = Folder::with(3);
    folder.edit(1, |text| text.replace("test", "best"));
    let body = fs::read_to_string(folder.segment(1)).expect("text");
    let mut head = NO_LINE.to_owned();
    let forged: String = body
        .lines()
        .enumerate()
        .map(|(index, _)| {
            let line = format!(
                "{{\"event\":{{\"seq\":{},\"kind\":\"best\"}},\"prev\":\"{head}\"}}",
                index + 1
            );
            head = Sha256::digest(line.as_bytes())
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!("{line}\n")
        })
        .collect();
    fs::write(folder.segment(1), forged).expect("written");
    assert_eq!(
        folder.verify().problems,
        ["event 3 is not the one that the host signed"]
    );
}

#[test]
fn a_checkpoint_of_another_key_is_refused() {
    let mut folder = Folder::with(3);
    folder.key = SigningKey::generate().expect("a key");
    let found = folder.verify();
    assert!(!found.signature_checked);
    assert_eq!(found.problems.len(), 1);
}

#[test]
fn dropped_old_segments_and_a_line_being_written_are_no_damage() {
    let folder = Folder::with(8);
    fs::remove_file(folder.segment(1)).expect("removed");
    folder.edit(7, |text| format!("{text}{{\"event\":"));
    let found = folder.verify();
    assert_eq!((found.first, found.last), (4, 8));
    assert!(found.problems.is_empty(), "{:?}", found.problems);
}
