//! A conversation in the asker's own words: for commands of an operator, who looks at more than controllers do. The
//! login, the limits and what is never shown are a `Conversation`'s.

use super::{Conversation, ConversationError, ServerError, Settings, Table};
use backstay_model::{Fault, Reply};

/// See the module's head. After `feed` and `ask`, write what `unsent` holds, and take answers until there is none.
#[derive(Debug)]
pub struct Interview(Conversation);

/// What a question is answered with: the results, or the server's first error.
pub type Answer = Result<Vec<Table>, ServerError>;

impl Interview {
    /// Nothing was received yet.
    pub fn new(settings: Settings) -> Self {
        Self(Conversation::new(settings))
    }

    /// Asks; of several statements in one text the first error ends the answer. `secret`: the text holds a password, so
    /// the text of an error, which may quote it, is left out.
    pub fn ask(&mut self, text: &str, secret: bool) {
        self.0.question(text, secret);
    }

    /// Takes bytes as they arrive.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), ConversationError> {
        self.0.feed(bytes)
    }

    /// The answer to the next question. `Err` in the outer result: there will be none, see `refusal`.
    pub fn next_answer(&mut self) -> Result<Option<Answer>, ConversationError> {
        match self.0.next_reply()? {
            None => Ok(None),
            Some(Reply::Done) => Ok(self.0.take_answer()),
            Some(_) => Err(ConversationError::Ended),
        }
    }

    /// What is to be written; take from its front what was.
    pub const fn unsent(&mut self) -> &mut Vec<u8> {
        self.0.unsent()
    }

    /// Why the login was refused, if it was, and the server's words about it if there are any.
    pub fn refusal(&self) -> Option<(Fault, Option<&ServerError>)> {
        let fault = self.0.login_outcome()?.err()?;
        Some((fault, self.0.trouble()))
    }
}
