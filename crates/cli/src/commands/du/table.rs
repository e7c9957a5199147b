//! Formats rows of numbers as a table.

use crate::commands::du::ledger::Sums;
use crate::inspect::names::NameFormat;
use crate::inspect::size::SizeFormat;

/// Returns the lines of the table: a header, a row for each image, and the total.
pub(super) fn lines(
    names: &[&[u8]],
    rows: &[Sums],
    total: Option<&Sums>,
    with_disk: bool,
    sizes: SizeFormat,
) -> Vec<u8> {
    let cells = |sums: &Sums| -> Vec<String> {
        let columns = sums.columns(with_disk).into_iter();
        columns.map(|column| if column.is_size { sizes } else { SizeFormat::Bytes }.show(column.number)).collect()
    };
    let head = Sums::default().columns(with_disk).into_iter().map(|column| column.name.to_owned()).collect();
    let mut table: Vec<(Vec<String>, Vec<u8>)> = vec![(head, Vec::new())];
    // Names are escaped, as a newline would start another row.
    table.extend(rows.iter().zip(names).map(|(sums, name)| (cells(sums), NameFormat::Escaped.show(name))));
    table.extend(total.map(|sums| (cells(sums), b"total".to_vec())));
    let columns = table[0].0.len();
    let width = |index: usize| table.iter().map(|(cells, _)| cells[index].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut lines = Vec::new();
    for (cells, name) in &table {
        let row: Vec<_> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        lines.extend_from_slice(row.join("  ").as_bytes());
        if !name.is_empty() {
            lines.extend_from_slice(b"  ");
            lines.extend_from_slice(name);
        }
        lines.push(b'\n');
    }
    lines
}
