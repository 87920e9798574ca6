//! The outline as GitHub's Markdown.

use super::outline::Block;

/// The document.
pub(super) fn text(blocks: &[Block]) -> String {
    blocks.iter().map(block).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
}

fn block(block: &Block) -> String {
    match block {
        Block::Title(title, about) => format!("# {}\n\n{}\n", escape(title), escape(about)),
        Block::Verdict(_, text) => format!("> **{}**\n", escape(text)),
        Block::Tiles(tiles) => {
            let tile = |[what, how_much, beside]: &[String; 3]| {
                let beside = if beside.is_empty() { String::new() } else { format!(" ({})", escape(beside)) };
                format!("- {}: **{}**{beside}\n", escape(what), escape(how_much))
            };
            tiles.iter().map(tile).collect()
        }
        Block::Section(text) => format!("## {}\n", escape(text)),
        Block::Subsection(text) => format!("### {}\n", escape(text)),
        Block::Text(text) => format!("{}\n", escape(text)),
        Block::List(items) => {
            let item = |item: &String| format!("- {}\n", escape(item));
            items.iter().map(item).collect()
        }
        Block::Details(..) => String::new(),
        Block::Table(texts, head, rows) => table(*texts, head, rows),
        Block::Chart(chart) => format!("*{}: in the HTML report.*\n", escape(&chart.title)),
    }
}

fn table(texts: usize, head: &[&str], rows: &[Vec<String>]) -> String {
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let line = (0..head.len()).map(|i| if i < texts { "---" } else { "---:" }.to_owned()).collect();
    let mut text = row(head.iter().map(|title| escape(title)).collect()) + &row(line);
    text.extend(rows.iter().map(|cells| row(cells.iter().map(|cell| escape(cell)).collect())));
    text
}

/// Text, escaped, on one line.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '$' => escaped.extend(['\\', letter]),
            letter if letter.is_control() => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_means_itself_in_a_cell() {
        assert_eq!(escape("a|b\n<script> *c* _d_ & [e](f)"), "a\\|b &lt;script> \\*c\\* \\_d\\_ &amp; \\[e\\](f)");
    }

    #[test]
    fn figures_stand_to_the_right() {
        let text = table(1, &["a", "b"], &[vec!["x".to_owned(), "1".to_owned()]]);
        assert_eq!(text, "| a | b |\n| --- | ---: |\n| x | 1 |\n");
    }
}
