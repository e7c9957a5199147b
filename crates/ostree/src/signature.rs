//! The types of GVariants, parsed once, since sizes and alignments are needed at every element.

/// One complete GVariant type.
#[derive(Debug)]
pub(crate) struct Signature {
    kind: TypeKind,
    alignment: usize,
    fixed_size: Option<usize>,
}

/// The kind of a type, as far as normal form depends on it.
#[derive(Debug)]
pub(crate) enum TypeKind {
    /// Any bytes of its fixed size.
    Number,
    Bool,
    /// Strings, object paths and signatures.
    String,
    Variant,
    Maybe(Box<Signature>),
    Array(Box<Signature>),
    /// A tuple, or an entry of a dictionary.
    Tuple(Vec<Signature>),
}

impl Signature {
    /// Parses one complete type, with containers nested at most `depth` deep. `None` for anything else.
    pub(crate) fn parse(text: &[u8], depth: usize) -> Option<Self> {
        let mut rest = text;
        let parsed = Self::next(&mut rest, depth)?;
        rest.is_empty().then_some(parsed)
    }

    pub(crate) fn kind(&self) -> &TypeKind {
        &self.kind
    }

    /// Returns the alignment of values: 1, 2, 4 or 8.
    pub(crate) fn alignment(&self) -> usize {
        self.alignment
    }

    /// Returns the size, if all values have the same; never 0.
    pub(crate) fn fixed_size(&self) -> Option<usize> {
        self.fixed_size
    }

    fn next(rest: &mut &[u8], depth: usize) -> Option<Self> {
        let depth = depth.checked_sub(1)?;
        let (first, after) = rest.split_first()?;
        *rest = after;
        let fixed = |kind, size| Some(Self { kind, alignment: size, fixed_size: Some(size) });
        let variable = |kind, alignment| Some(Self { kind, alignment, fixed_size: None });
        match first {
            b'y' => fixed(TypeKind::Number, 1),
            b'b' => fixed(TypeKind::Bool, 1),
            b'n' | b'q' => fixed(TypeKind::Number, 2),
            b'i' | b'u' | b'h' => fixed(TypeKind::Number, 4),
            b'x' | b't' | b'd' => fixed(TypeKind::Number, 8),
            b's' | b'o' | b'g' => variable(TypeKind::String, 1),
            b'v' => variable(TypeKind::Variant, 8),
            b'm' | b'a' => {
                let element = Box::new(Self::next(rest, depth)?);
                let alignment = element.alignment;
                variable(if *first == b'm' { TypeKind::Maybe(element) } else { TypeKind::Array(element) }, alignment)
            }
            b'(' => Some(Self::tuple(Self::members(rest, b')', depth)?)),
            b'{' => {
                let is_basic = rest.first().is_some_and(|key| b"ybnqiuhxtdsog".contains(key));
                let members = Self::members(rest, b'}', depth)?;
                (is_basic && members.len() == 2).then(|| Self::tuple(members))
            }
            _ => None,
        }
    }

    fn members(rest: &mut &[u8], end: u8, depth: usize) -> Option<Vec<Self>> {
        let mut members = Vec::new();
        loop {
            if let Some((_, after)) = rest.split_first().filter(|(first, _)| **first == end) {
                *rest = after;
                return Some(members);
            }
            members.push(Self::next(rest, depth)?);
        }
    }

    fn tuple(members: Vec<Self>) -> Self {
        let alignment = members.iter().map(|member| member.alignment).max().unwrap_or(1);
        let size = members
            .iter()
            .try_fold(0usize, |size, member| size.next_multiple_of(member.alignment).checked_add(member.fixed_size?));
        // The empty tuple takes one byte.
        let fixed_size = size.map(|size| size.next_multiple_of(alignment).max(1));
        Self { kind: TypeKind::Tuple(members), alignment, fixed_size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_alignments() {
        for (text, alignment, size) in [
            ("y", 1, Some(1)),
            ("t", 8, Some(8)),
            ("()", 1, Some(1)),
            ("(yu)", 4, Some(8)),
            ("(uy)", 4, Some(8)),
            ("(uuua(ayay))", 4, None),
            ("a{sv}", 8, None),
            ("(a(say)a(sayay))", 1, None),
            ("m(yy)", 1, None),
        ] {
            let parsed = Signature::parse(text.as_bytes(), 128).unwrap();
            assert_eq!((parsed.alignment(), parsed.fixed_size()), (alignment, size), "{text}");
        }
    }

    #[test]
    fn incomplete_types_are_refused() {
        let deep = "a".repeat(200) + "y";
        for text in ["", "yy", "a", "(", "(y", ")", "{sv", "{vs}", "{s}", "{svv}", "r", "*", "mm", &deep] {
            assert!(Signature::parse(text.as_bytes(), 128).is_none(), "{text}");
        }
        assert!(Signature::parse(format!("{}y", "a".repeat(127)).as_bytes(), 128).is_some());
    }
}
