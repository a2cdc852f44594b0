#![no_main]

use backstay_config::Config;
use miette::{Diagnostic, NarratableReportHandler};

// Beside the target itself, every mistake is shown as an operator would see it.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    backstay_server::fuzzing::run("config", bytes);
    if let Ok(Err(errors)) = std::str::from_utf8(bytes).map(|text| Config::parse("fuzz.toml", text)) {
        let mut shown = String::new();
        let errors: &dyn Diagnostic = &errors;
        NarratableReportHandler::new().render_report(&mut shown, errors).expect("mistakes can be shown");
    }
});
