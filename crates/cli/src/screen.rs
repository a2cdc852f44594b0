//! A terminal that is drawn on as a whole: only lines that changed are written, so nothing flickers, and whatever
//! happens the terminal is given back as it was.

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::style::Print;
use crossterm::terminal::{
    self, BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap, EndSynchronizedUpdate,
    EnterAlternateScreen, LeaveAlternateScreen,
};
use crossterm::{execute, queue};
use std::io::{self, IsTerminal, Stdout, Write};
use tokio::sync::mpsc::Sender;

/// What the user does to the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gesture {
    /// `q`, Escape, Ctrl-C, or the terminal is gone.
    Leave,
    /// It has another size now.
    Resize,
}

/// The terminal while it is drawn on.
pub(crate) struct Screen {
    stdout: Stdout,
    shown: Vec<String>,
}

impl Screen {
    /// Whether there is a terminal that can be drawn on, with somebody at its keys.
    pub(crate) fn is_there() -> bool {
        let dumb = std::env::var_os("TERM").is_none_or(|value| value == "dumb");
        io::stdout().is_terminal() && io::stdin().is_terminal() && !dumb
    }

    pub(crate) fn take() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        // From here on dropping it gives the terminal back.
        let mut screen = Self { stdout: io::stdout(), shown: Vec::new() };
        execute!(screen.stdout, EnterAlternateScreen, Hide, DisableLineWrap)?;
        Ok(screen)
    }

    /// Columns and rows.
    pub(crate) fn size() -> (usize, usize) {
        // A terminal that does not know is taken for the smallest usual one.
        let (columns, rows) = terminal::size().unwrap_or((80, 24));
        (usize::from(columns), usize::from(rows))
    }

    /// Forgets what is shown: everything is drawn again.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.shown.clear();
        queue!(self.stdout, Clear(ClearType::All))
    }

    /// Shows these lines, none of which is wider than the terminal.
    pub(crate) fn draw(&mut self, lines: Vec<String>) -> io::Result<()> {
        if lines == self.shown {
            return Ok(());
        }
        queue!(self.stdout, BeginSynchronizedUpdate)?;
        for row in 0..lines.len().max(self.shown.len()) {
            let line = lines.get(row).map_or("", String::as_str);
            if self.shown.get(row).map(String::as_str) != Some(line) {
                let row = u16::try_from(row).unwrap_or(u16::MAX);
                queue!(self.stdout, MoveTo(0, row), Print(line), Clear(ClearType::UntilNewLine))?;
            }
        }
        queue!(self.stdout, EndSynchronizedUpdate)?;
        self.stdout.flush()?;
        self.shown = lines;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = execute!(self.stdout, EnableLineWrap, Show, LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

/// Sends what the user does, from a thread that ends with the process.
pub(crate) fn send_gestures(to: Sender<Gesture>) {
    std::thread::spawn(move || {
        loop {
            let gesture = match event::read() {
                Ok(Event::Key(key)) if leaves(key) => Gesture::Leave,
                Ok(Event::Resize(..)) => Gesture::Resize,
                Ok(_) => continue,
                Err(_) => Gesture::Leave,
            };
            if to.blocking_send(gesture).is_err() || gesture == Gesture::Leave {
                return;
            }
        }
    });
}

fn leaves(key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let wanted = match key.code {
        KeyCode::Char('c' | 'd') => control,
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => true,
        _ => false,
    };
    wanted && key.kind != KeyEventKind::Release
}
