//! The drawing library of the pages: the basic bundle of plotly.js, as a file in the program. It draws the traces
//! `scatter`, `bar` and `pie`.

/// The script, minified. `assets/README.md` has its version, its licence and how to update it.
pub const SCRIPT: &str = include_str!("../assets/plotly-basic.min.js");

/// The script as an element of a page that needs neither network nor server.
#[must_use]
pub fn script_element() -> String {
    format!("<script>{SCRIPT}</script>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_the_version_that_the_readme_says() {
        assert!(SCRIPT.contains("plotly.js (basic - minified) v3.0.1"));
        assert!(include_str!("../assets/README.md").contains("3.0.1, the *basic* bundle"));
    }

    #[test]
    fn the_script_does_not_end_its_element() {
        assert!(!SCRIPT.contains("</script"));
    }
}
