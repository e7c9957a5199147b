//! JSON whose objects have each key once: with two values for a key, it would not be clear which one counts.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A map whose keys occur once.
pub(super) struct UniqueMap<V>(pub(super) BTreeMap<String, V>);

impl<V> Default for UniqueMap<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnceEach<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for OnceEach<V> {
            type Value = UniqueMap<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<UniqueMap<V>, A::Error> {
                let mut map = BTreeMap::new();
                while let Some((key, value)) = entries.next_entry::<String, V>()? {
                    if map.contains_key(&key) {
                        return Err(A::Error::custom(format_args!("the key {key:?} occurs twice")));
                    }
                    map.insert(key, value);
                }
                Ok(UniqueMap(map))
            }
        }
        deserializer.deserialize_map(OnceEach(PhantomData))
    }
}

/// Any value.
pub(super) struct UniqueValue(pub(super) Value);

impl<'de> Deserialize<'de> for UniqueValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;
        impl<'de> Visitor<'de> for AnyValue {
            type Value = UniqueValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value of JSON")
            }

            fn visit_bool<E>(self, value: bool) -> Result<UniqueValue, E> {
                Ok(UniqueValue(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<UniqueValue, E> {
                Ok(UniqueValue(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<UniqueValue, E> {
                Ok(UniqueValue(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<UniqueValue, E> {
                Ok(UniqueValue(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<UniqueValue, E> {
                Ok(UniqueValue(value.into()))
            }

            fn visit_unit<E>(self) -> Result<UniqueValue, E> {
                Ok(UniqueValue(Value::Null))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<UniqueValue, A::Error> {
                let values = Vec::<UniqueValue>::deserialize(SeqAccessDeserializer::new(values))?;
                Ok(UniqueValue(values.into_iter().map(|value| value.0).collect()))
            }

            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<UniqueValue, A::Error> {
                let map = UniqueMap::<UniqueValue>::deserialize(MapAccessDeserializer::new(entries))?;
                let entries = map.0.into_iter().map(|(key, value)| (key, value.0));
                Ok(UniqueValue(Value::Object(entries.collect())))
            }
        }
        deserializer.deserialize_any(AnyValue)
    }
}
