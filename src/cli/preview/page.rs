//! Curves as a page: a chart an output, with the drawing library within.

use plotly::{
    Layout, Plot, Scatter,
    common::{Line, LineShape, Mode},
    layout::Axis,
};

use super::{
    Preview,
    columns::{Column, Output, columns},
};

/// A page that needs neither network nor server.
pub(super) fn html(previews: &[Preview]) -> String {
    let columns = columns(previews);
    let steps = previews.first().map_or(&[][..], |preview| &preview.curve.steps);
    let charts = Output::ALL.into_iter().filter_map(|output| {
        let shown: Vec<&Column> = columns.iter().filter(|column| column.output == output).collect();
        (!shown.is_empty()).then(|| chart(output, steps, &shown))
    });
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n{scripts}</head>\n\
         <body style=\"font-family: sans-serif; margin: 2rem\">\n<h1>{title}</h1>\n{charts}</body>\n</html>\n",
        title = escape(&previews.iter().map(|preview| preview.label.as_str()).collect::<Vec<_>>().join(", ")),
        scripts = Plot::offline_js_sources(),
        charts = charts.collect::<String>(),
    )
}

fn chart(output: Output, steps: &[u64], columns: &[&Column]) -> String {
    let mut plot = Plot::new();
    for column in columns {
        let name = escape(&format!("{} {}", column.label, column.group));
        // Between two steps there is nothing: a jump is drawn as one.
        let line = Line::new().shape(LineShape::Linear);
        plot.add_trace(Scatter::new(steps.to_vec(), column.values.clone()).name(name).mode(Mode::Lines).line(line));
    }
    let title = |text: &str| Axis::new().title(text.to_owned());
    plot.set_layout(Layout::new().x_axis(title("step")).y_axis(title(output.name())).show_legend(true));
    plot.to_inline_html(Some(output.name()))
}

/// `text` for a page and for the scripts within it, where a label must not end the script.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_engine::{Curve, Directive, GroupRate, Source};
    use lrs_model::spec::Spec;

    fn preview(label: &str, momentum: Option<f64>) -> Preview {
        let rate = GroupRate { group: "default".into(), learning_rate: 0.5, momentum, weight_decay: None };
        let directive = |step| Directive {
            step,
            rates: vec![rate.clone()],
            source: Source::Schedule,
            told: lrs_engine::Told::default(),
        };
        let curve =
            Curve { steps: vec![0, 1], directives: vec![directive(0), directive(1)], expanded: Spec::default() };
        Preview { label: label.to_owned(), curve }
    }

    #[test]
    fn each_output_that_is_there_has_a_chart() {
        let charts = |momentum| html(&[preview("a", momentum)]).matches("Plotly.newPlot(").count();
        assert_eq!(charts(Some(0.9)), charts(None) + 1);
    }

    #[test]
    fn a_label_is_text_whatever_it_holds() {
        let page = html(&[preview("</script><b>", None)]);
        assert!(page.contains("<h1>&lt;/script&gt;&lt;b&gt;</h1>"));
        assert!(!page.contains("</script><b>"));
    }
}
