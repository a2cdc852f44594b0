//! One connection of an operator's command to a MariaDB, a question at a time: made as controllers make theirs, every call
//! with a deadline. It knows nothing of what is asked.

use super::TlsDialler;
use super::connect::Connector;
use super::socket::Channel;
use backstay_controller::link::ConnectFailure;
use backstay_model::{Address, Fault};
use backstay_wire::mariadb::{Interview, ServerError, Settings, Table};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// How long a connection may take, and how long each answer, the login included.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
const ANSWER_PATIENCE: Duration = Duration::from_secs(8);
const READ_BYTES: usize = 16 * 1024;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// See the module's head. After an error that is not the server's own it is of no more use.
pub(crate) struct Line {
    stream: Box<dyn Stream>,
    interview: Interview,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LineError {
    /// The host's name does not resolve.
    NameUnresolved,
    /// The host answered that nobody listens.
    Refused,
    /// No answer to a connection, or no way there.
    Unreachable,
    /// There is no TLS with it.
    NoTls(Fault),
    /// It took the connection and then said nothing for so long.
    Silent(Duration),
    /// It does not let this user in, or is none that can be talked to; its own words, if it said any.
    LoginRefused(Fault, Option<ServerError>),
    /// An error for an answer.
    Answered(ServerError),
    /// It ended the connection, or said what no MariaDB says.
    Ended(String),
}

impl Line {
    /// A new connection. Whether its login is accepted shows with the first answer.
    pub(crate) async fn open(
        address: &Address,
        tls: Option<TlsDialler>,
        settings: Settings,
    ) -> Result<Self, LineError> {
        let mut connector = Connector::new(address.clone(), CONNECT_PATIENCE, ANSWER_PATIENCE, tls, true);
        let opened = connector.connect().await.map_err(|failure| match failure {
            ConnectFailure::Refused => LineError::Refused,
            ConnectFailure::Unreachable => LineError::Unreachable,
            ConnectFailure::NameUnresolved => LineError::NameUnresolved,
            ConnectFailure::NoTls(fault) => LineError::NoTls(fault),
        })?;
        let stream: Box<dyn Stream> = match opened.channel {
            Channel::Plain(stream) => Box::new(stream),
            Channel::Tls(stream) => stream,
        };
        let mut interview = Interview::new(settings);
        interview.feed(&opened.early).map_err(|error| LineError::Ended(error.to_string()))?;
        Ok(Self { stream, interview })
    }

    /// What the server answers.
    pub(crate) async fn ask(&mut self, text: &str) -> Result<Vec<Table>, LineError> {
        self.say(text, false).await
    }

    /// The same for a text that holds a password.
    pub(crate) async fn ask_secretly(&mut self, text: &str) -> Result<Vec<Table>, LineError> {
        self.say(text, true).await
    }

    async fn say(&mut self, text: &str, secret: bool) -> Result<Vec<Table>, LineError> {
        self.interview.ask(text, secret);
        match timeout(ANSWER_PATIENCE, self.answer()).await {
            Ok(answered) => answered,
            Err(_) => Err(LineError::Silent(ANSWER_PATIENCE)),
        }
    }

    async fn answer(&mut self) -> Result<Vec<Table>, LineError> {
        let broke = |error: io::Error| LineError::Ended(error.to_string());
        let mut bytes = vec![0; READ_BYTES];
        loop {
            let answer = self.interview.next_answer();
            match answer {
                Ok(Some(answer)) => return answer.map_err(LineError::Answered),
                Ok(None) => {}
                Err(error) => {
                    return Err(match self.interview.refusal() {
                        Some((fault, words)) => LineError::LoginRefused(fault, words.cloned()),
                        None => LineError::Ended(error.to_string()),
                    });
                }
            }
            let unsent = std::mem::take(self.interview.unsent());
            if !unsent.is_empty() {
                self.stream.write_all(&unsent).await.map_err(broke)?;
                self.stream.flush().await.map_err(broke)?;
            }
            match self.stream.read(&mut bytes).await.map_err(broke)? {
                0 => return Err(LineError::Ended("it closed the connection".to_owned())),
                count => {
                    self.interview.feed(&bytes[..count]).map_err(|it| LineError::Ended(it.to_string()))?;
                }
            }
        }
    }
}
