//! The call that is being answered, for what is recorded because of it.
//!
//! It goes with the task that answers, so that no command of the server has to pass it on, nor can forget to.

use std::sync::{Arc, OnceLock};

use jit_grant::UserTokenId;

use crate::event::Via;
use crate::origin::Origin;

tokio::task_local! {
    static CURRENT: Arc<Call>;
}

/// A call that is being answered.
#[derive(Debug)]
pub struct Call {
    from: Option<Origin>,
    uid: Option<u32>,
    /// Set once it is known who calls.
    caller: OnceLock<Option<UserTokenId>>,
}

impl Call {
    /// A call from there, over the socket by that uid. Who makes it is not known yet.
    #[must_use]
    pub fn new(from: Option<Origin>, uid: Option<u32>) -> Self {
        Self {
            from,
            uid,
            caller: OnceLock::new(),
        }
    }

    /// It is made by a person, known by `token` where he showed one.
    pub(crate) fn is_of_person(&self, token: Option<UserTokenId>) {
        // Whoever asks first; a call is made by one caller.
        let _ = self.caller.set(token);
    }

    /// What is done while `answering` is done because of it.
    pub(crate) async fn around<T>(self: Arc<Self>, answering: impl Future<Output = T>) -> T {
        CURRENT.scope(self, answering).await
    }

    /// The one that this task answers. None: it answers none.
    pub(super) fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// How it came in. None where it is not of a person: what hosts say of themselves has its own fields for that.
    pub(super) fn via(&self) -> Option<Via> {
        Some(Via {
            token: self.caller.get()?.clone(),
            from: self.from?,
            uid: self.uid,
        })
    }
}
