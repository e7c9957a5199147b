//! Compares properties of images other than their trees.

use libcomposefs_image::erofs::read::Order;

use crate::input::ImageProperties;

/// Property of a whole image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    /// Version of the image format.
    Version,
    /// Flags of the header.
    Flags,
    /// Time of compact inodes: the earliest of all.
    BuildTime,
    /// Numbers of compact and extended inodes.
    Forms,
    /// Order of the inodes.
    Order,
}

impl Fact {
    pub(super) const ALL: [Fact; 5] = [Fact::Version, Fact::Flags, Fact::BuildTime, Fact::Forms, Fact::Order];

    /// Returns the name in options and JSON.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Fact::Version => "version",
            Fact::Flags => "flags",
            Fact::BuildTime => "build-time",
            Fact::Forms => "forms",
            Fact::Order => "order",
        }
    }

    /// Returns true if the property can be chosen independently; the others follow from the tree.
    pub(super) const fn is_cause(self) -> bool {
        !matches!(self, Fact::BuildTime | Fact::Forms)
    }

    /// Formats the value for people.
    pub(super) fn of(self, facts: &ImageProperties) -> String {
        match self {
            Fact::Version => facts.version.to_string(),
            Fact::Flags => match facts.flags {
                0 => "none".to_owned(),
                1 => "has ACLs".to_owned(),
                flags => format!("{flags:#x}"),
            },
            Fact::BuildTime => crate::timestamp::shown(facts.build_time),
            Fact::Forms => {
                let [compact, extended] = [facts.compact, facts.extended].map(super::labels::number);
                format!("{compact} compact, {extended} extended inodes")
            }
            Fact::Order => match facts.order {
                Order::NoLinks => "no hard links".to_owned(),
                Order::BreadthFirst => "breadth first".to_owned(),
                Order::Other => "other than breadth first".to_owned(),
            },
        }
    }
}

/// Returns the properties that differ.
pub(super) fn differing(a: &ImageProperties, b: &ImageProperties, ignored: &[Fact]) -> Vec<Fact> {
    let differs = |fact: Fact| match fact {
        Fact::Version => a.version != b.version,
        Fact::Flags => a.flags != b.flags,
        Fact::BuildTime => a.build_time != b.build_time,
        Fact::Forms => (a.compact, a.extended) != (b.compact, b.extended),
        // The presence of hard links is a property of the trees.
        Fact::Order => (a.order == Order::Other) != (b.order == Order::Other),
    };
    Fact::ALL.into_iter().filter(|fact| !ignored.contains(fact) && differs(*fact)).collect()
}
