//! Every code that a person may meet, in one table: terminals, logs, `jitctl explain`, the man page and the docs take it from here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is no code of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a code of jit: codes look like JIT-101; `jitctl explain` without one lists them all"
)]
pub struct UnknownCode(String);

macro_rules! codes {
    ($($number:literal $name:ident $title:literal $explanation:literal $remedy:literal)*) => {
        /// Why something was refused or ended. Numbers are stable: 1xx refuse a person, 2xx a signed document, 3xx end a session.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum Code {
            $(
                #[doc = concat!("JIT-", stringify!($number), ": ", $title, ".")]
                $name,
            )*
        }

        impl Code {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code as text: `JIT-101`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("JIT-", stringify!($number)),)*
                }
            }

            /// What happened, in a few words that read as a sentence without its full stop.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $title,)*
                }
            }

            /// Why it happened, in a sentence or two.
            #[must_use]
            pub fn explanation(self) -> &'static str {
                match self {
                    $(Self::$name => $explanation,)*
                }
            }

            /// What to do next, in one line.
            #[must_use]
            pub fn remedy(self) -> &'static str {
                match self {
                    $(Self::$name => $remedy,)*
                }
            }
        }
    };
}

codes! {
    101 NoGrant "No grant opens this login"
        "Nobody has standing access here. A login, sudo or su needs a grant for this account on this host, and there is none. Whoever was locked has lost what he had, too: jitctl status tells him."
        "Ask for a role with jitctl request; jitctl list roles shows what you may ask for."
    102 Expired "The grant expired"
        "There was a grant for this, and its time is over. A grant ends at the second it says, whatever the clock of your terminal shows."
        "Ask again with jitctl request; a running grant can be lengthened with jitctl extend before it ends."
    103 NotYetStarted "The grant has not started yet"
        "A grant for this is approved, for a time that has not come."
        "Come back when it starts; jitctl list grants shows when that is."
    104 ActionNotCovered "The grant in force does not cover this"
        "A grant opens named actions only, such as ssh without sudo. Yours does not name this one."
        "Ask for a role that covers it; jitctl list roles shows what each role opens."
    105 OtherKey "This ssh key is not one of the principal's"
        "The grant belongs to one person, whose ssh keys are known. You came with another key."
        "Log in with a key that is registered for you (ssh -i FILE), or have an administrator register this one."
    106 NeedsKey "Several people share this login, and nothing here tells which of them you are"
        "On a shared login only the ssh key tells people apart. A password, or sudo and su outside a login that was opened by a key, do not."
        "Log in over ssh with a key that is registered for you, and go on from there."
    107 DemandsUnknown "The grant demands what this host cannot enforce"
        "The grant names a condition that the version of jitd on this host does not know. Such a grant opens nothing, rather than too much."
        "Have the host's packages brought up to the server's version, or ask for a role without that condition."
    108 NotFromThere "The grant does not open from where you come"
        "The role is for logins from certain networks only, and the address that this login came from is in none of them, or is not known. It counts for sudo and su within the login, too. Jobs come from nowhere, so that such a role opens none."
        "Log in from a network that the role is for, or ask for a role without that condition; whoever keeps the policy knows both."
    109 UsedUp "The grant opens one login, and is used up"
        "The role is for a single login, and that was had: a second one, or a copy by scp or sftp, needs a grant of its own. The same is said where the host has lost its memory of which grants were used: it can't tell those that began before from used ones."
        "Ask again with jitctl request; what is open by the grant goes on to its end."
    110 NotEnrolled "This host has no grants from any server"
        "The host is not enrolled with a server, or has not received its first list of grants yet."
        "An administrator runs jitctl status on the host, and jitctl enroll where it is not enrolled."
    111 Stale "The server has not been heard from for too long"
        "Grants count only while the server is heard from, since a revocation could be waiting there. It has been silent for longer than max_staleness."
        "Try again in a minute; if it stays so, an administrator checks jit-server, jitd-sync and the network between them."
    112 NoWord "The server has not been heard from since this host started"
        "After a start, or when its state was lost, a host believes no grant before the server has answered it anew."
        "Try again in a minute; if it stays so, an administrator checks jit-server, jitd-sync and the network between them."
    113 GroupNotGiven "This host can't give a Unix group that the grant has"
        "The role gives logins a Unix group. That group is not in /etc/group of this host or is root's, or the way in is one where jit can't give groups: only sshd does, once its gate was written by a version that knows how. Or the login has no audit session of its own, by which what leaves it is found."
        "An administrator makes the group there, or runs jitctl gate sshd; or ask for a role without it."
    120 WhoseLogin "It is unclear whose login this is"
        "What the program says about the caller and what the kernel says do not agree, or the account is not one that can be granted."
        "Log in as yourself and try again; an administrator finds what disagreed in the record: journalctl -u jitd."
    121 UnknownService "This service is gated but stands for no action"
        "jitd's settings say which action each PAM service is. This one is not among them, so no grant can cover it."
        "An administrator adds the service to /etc/jit/jitd.toml, or takes its gate out with jitctl ungate SERVICE."
    130 NoScope "The login has no session of its own that could be ended"
        "A grant opens only what can be ended on time. systemd-logind gave this login no session scope of its own."
        "An administrator checks that systemd-logind runs and that pam_systemd stands in the service's PAM file."
    131 EndNotArmed "The end of the session could not be arranged"
        "A session opens only once its end is set, in jitd and in systemd. Setting it failed."
        "Try again; if it stays so, an administrator looks at journalctl -u jitd and systemctl --failed."
    132 NoDecision "The session was opened without a decision before"
        "The PAM stack reached the session phase for something that no decision of the account phase stands behind."
        "An administrator runs jitctl doctor: the gate lines of this service are incomplete or in the wrong place."
    140 NotRecorded "The decision could not be written down"
        "Every decision is recorded before it counts. Neither jitd's own record nor the system log took this one."
        "An administrator makes room on the disk of /var/lib/jit and checks the system log."
    150 Unreachable "The deciding daemon could not be reached"
        "jitd decides every login here, and its socket did not answer at all. Without an answer nothing opens."
        "An administrator runs systemctl status jitd jitd-pam.socket on the console."
    151 TimedOut "The deciding daemon did not answer in time"
        "jitd decides every login here, and it was reached but gave no answer within the time allowed. Without an answer nothing opens."
        "Try again; if it stays so, an administrator runs systemctl restart jitd on the console."
    152 BadAnswer "The deciding daemon gave an answer that makes no sense"
        "jitd decides every login here, and what came back was not one of its answers. A doubtful answer opens nothing."
        "An administrator checks that jitd and its PAM module are of matching versions, and restarts jitd."
    153 BadArguments "The gate line in the PAM file is wrong"
        "pam_jit.so was given arguments that it does not know. It does not guess what they meant."
        "An administrator runs jitctl ungate and jitctl gate for this service, which writes the line anew."
    154 ModuleFailed "The PAM module failed"
        "pam_jit.so met an error of its own before it had an answer. Without an answer nothing opens."
        "Try again; if it stays so, an administrator finds the reason in the system log and reports it as a bug."
    201 BadSignature "A signed document was refused: its signature is wrong"
        "The document was changed on its way, or was not signed by the key it names. The host goes on with what it had."
        "Treat it as an attack or a broken link until found otherwise: look at jitd-sync and what lies between host and server."
    202 UnknownKey "A signed document was refused: its key is not trusted here"
        "The document is signed with a key that was not pinned at enrolment."
        "Compare the keys in /etc/jit/trust.json with the server's; if it has another now, remove that file, restart jitd and enrol again."
    203 OtherHost "A signed document was refused: it is for another host"
        "The document names another audience than this one. Documents of one host never count on another."
        "If the machine was cloned from an image, enrol it anew with jitctl enroll; otherwise look at jitd-sync."
    204 LowerRevision "A bundle was refused: it is older than what this host has seen"
        "Revisions only rise. An older bundle could bring back grants that were withdrawn."
        "If the server was restored from a backup, any change there makes a new revision; otherwise look at jitd-sync."
    205 FromTheFuture "A signed document was refused: it is dated in the future"
        "The document's date is ahead of this machine's clock by more than a minute."
        "Check the clocks of both machines (timedatectl)."
    206 BundleTooLarge "A signed document was refused: it is too large"
        "It has more bytes or more grants than is allowed for one host."
        "An administrator looks at how many grants this host has at the server; thousands in force at once are a mistake."
    207 Unparsable "A signed document was refused: it cannot be read"
        "It is not UTF-8, not a signed document, or its contents are not of the known shape."
        "Check that the versions of server and host match, and look at jitd-sync and what lies between host and server."
    208 WrongKind "A signed document was refused: it is of another type or algorithm"
        "A document of one kind never counts as another, and only EdDSA signatures count."
        "Check that the versions of server and host match, and look at jitd-sync and what lies between host and server."
    209 TokenExpired "A host's token was refused: its time is over"
        "A host shows a token that is good for five minutes. This one is older, or was made to last longer."
        "Check the clocks of both machines (timedatectl)."
    211 NotOurNonce "The server's word was refused: it answers another question"
        "Each word of the server must carry the number that this host made up for it. This one does not, so it may be an old one."
        "One now and then is harmless (a restart in between); many mean that somebody plays back old words: look at jitd-sync."
    212 NewerRevision "The server has a newer bundle than this host"
        "The server's word names a revision that has not arrived. Until it does, the word does not keep the grants fresh."
        "It arrives within seconds; if it does not, look at jitd-sync: something holds bundles back."
    213 KeyNotInChain "The server's keys were refused: they do not go on from the one known here"
        "The server's key was changed in a way that does not begin at the newest key this host knows: it slept through very many changes, the server lost its records, or somebody made it up. The host believes the key that it has and no other."
        "If bundles are refused, too (JIT-202), remove /etc/jit/trust.json, restart jitd and enrol again; otherwise look at jitd-sync."
    214 NewerVersion "A signed document was refused: it is of a newer version"
        "What a program that knows only earlier versions would get wrong has a version of its own, and is not believed in part."
        "Upgrade the packages on this host; the server works with hosts of two versions before its own."
    301 EndExpired "The session ended: its grant expired"
        "A session lives as long as its grant. The grant's time is over."
        "Ask again with jitctl request."
    302 EndWithdrawn "The session ended: its grant was withdrawn"
        "The grant was revoked by somebody entitled to, or released by its owner, before its time was over."
        "jitctl show GRANT says who withdrew it and why; ask again with jitctl request."
    303 EndNotCovered "The session ended: its grant no longer covers it"
        "The grant is still there but was changed, and what remains does not open this."
        "jitctl show GRANT says what it opens now; ask for more with jitctl request."
    304 EndNoSession "The elevation ended: no session followed the decision"
        "A decision opens a command only together with its session. None came within five seconds."
        "An administrator runs jitctl doctor: sudo may be set to skip the session phase (pam_session)."
    305 EndWithElevation "The session ended: the access of an elevation in it ended"
        "A sudo or su in this login was opened by a role that ends the login together with the elevation's access, since root may have handed something to it. The login's own grant may still run."
        "Log in again where a grant of yours still opens the login; jitctl request asks for sudo or su anew."
    306 EndIdle "The session ended: nobody did anything at it for too long"
        "The role ends logins that are left alone. With a terminal what counts is input that a program reads, and not what it shows; without one it is what goes over the connection. The grant goes on, unless it was for one login."
        "Log in again while the grant runs: jitctl list grants says until when."
}

impl Code {
    /// True where a new grant is what helps.
    #[must_use]
    pub fn calls_for_a_request(self) -> bool {
        matches!(
            self,
            Self::NoGrant
                | Self::Expired
                | Self::ActionNotCovered
                | Self::UsedUp
                | Self::EndExpired
                | Self::EndWithdrawn
                | Self::EndNotCovered
        )
    }
}

impl FromStr for Code {
    type Err = UnknownCode;

    /// Reads `JIT-101`; also `jit-101` and `101`, as people type them.
    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        let number = match text.split_at_checked(4) {
            Some((prefix, number)) if prefix.eq_ignore_ascii_case("JIT-") => number,
            _ => text,
        };
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.as_str().strip_prefix("JIT-") == Some(number))
            .ok_or_else(|| UnknownCode(text.chars().take(40).collect()))
    }
}

impl TryFrom<String> for Code {
    type Error = UnknownCode;

    fn try_from(text: String) -> Result<Self, UnknownCode> {
        text.parse()
    }
}

impl From<Code> for String {
    fn from(code: Code) -> Self {
        code.as_str().to_owned()
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
