//! The command that trains a job, from a template with names in braces.

use crate::cli::failure::Failure;

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Name(&'static str),
}

impl Template {
    /// Reads `text`, in which `{name}` stands for the value of one of `names`, and `{{` and `}}` for braces.
    ///
    /// # Errors
    /// If there is another name, or a brace without its partner.
    pub(super) fn parse(field: &str, text: &str, names: &[&'static str]) -> Result<Self, Failure> {
        let wrong = |problem: String| {
            let all = names.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(", ");
            Failure::invalid(format!("{field}: {problem}"))
                .with_hint(format!("there are {all}; write {{{{ and }}}} for braces"))
        };
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '{' | '}' if letters.peek() == Some(&letter) => {
                    letters.next();
                    plain.push(letter);
                }
                '{' => {
                    let mut is_closed = false;
                    let is_in_name = |letter: &char| {
                        is_closed = *letter == '}';
                        !is_closed
                    };
                    let name: String = letters.by_ref().take_while(is_in_name).collect();
                    let known = names.iter().find(|known| is_closed && **known == name);
                    let brace = if is_closed { "}" } else { "" };
                    let known = known.ok_or_else(|| wrong(format!("{{{name}{brace} is not known")))?;
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                    parts.push(Part::Name(known));
                }
                '}' => return Err(wrong("} has no { before it".to_owned())),
                letter => plain.push(letter),
            }
        }
        parts.push(Part::Text(plain));
        Ok(Self(parts))
    }

    /// The text with the values in their places.
    pub(super) fn fill(&self, value: impl Fn(&str) -> String) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Name(name) => value(name),
        };
        self.0.iter().map(part).collect()
    }
}

/// `text` as one word for a shell.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:@=".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<String, Failure> {
        let template = Template::parse("command", text, &["job", "seed"])?;
        Ok(template.fill(|name| format!("<{name}>")))
    }

    #[test]
    fn names_and_braces_are_told_apart() {
        assert_eq!(filled("train {job} --seed={seed} ${{HOME}}").unwrap(), "train <job> --seed=<seed> ${HOME}");
        assert_eq!(filled("").unwrap(), "");
    }

    #[test]
    fn what_is_not_known_is_named_with_what_is() {
        for (text, problem) in [("{jbo}", "{jbo} is not known"), ("{job", "is not known"), ("a }", "} has no {")] {
            let failure = filled(text).unwrap_err();
            assert!(failure.message.contains(problem), "{failure}");
            assert!(failure.hint.unwrap().contains("{job}, {seed}"));
        }
    }

    #[test]
    fn a_word_with_other_letters_is_quoted() {
        assert_eq!(quoted("namespaces/a/jobs/b-1"), "namespaces/a/jobs/b-1");
        assert_eq!(quoted("it's; rm"), "'it'\\''s; rm'");
        assert_eq!(quoted(""), "''");
    }
}
