//! Reads a tree into typed structures through serde. The type decides what a scalar's text is; errors name the value's
//! origin and key.

use std::{fmt, str::FromStr};

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor},
    forward_to_deserialize_any,
};

use super::{
    error::Problem,
    keys::nearest,
    node::{Node, Origin, Value},
};

/// Reads `node` as a `T`.
///
/// # Errors
/// All values that are none of their type; each is taken out of `node` to find the next.
pub(crate) fn from_node<T: de::DeserializeOwned>(node: &mut Node) -> Result<T, Vec<Problem>> {
    let mut problems = Vec::new();
    loop {
        let mut error = match T::deserialize(Reader(node)) {
            Ok(value) if problems.is_empty() => return Ok(value),
            Ok(_) => return Err(problems),
            Err(error) => error,
        };
        error.path.reverse();
        let key = error.path.join(".").replace(".[", "[");
        problems.push(Problem::at(error.origin.unwrap_or(Origin::Default), key, error.message));
        if problems.len() >= MAX_PROBLEMS || !node.clear(&error.path) {
            return Err(problems);
        }
    }
}

/// More than this helps nobody.
const MAX_PROBLEMS: usize = 50;

#[derive(Debug)]
pub(crate) struct Error {
    message: String,
    origin: Option<Origin>,
    /// Innermost first.
    path: Vec<String>,
}

impl Error {
    fn within(mut self, segment: String, origin: &Origin) -> Self {
        self.path.push(segment);
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), origin: None, path: Vec::new() }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let hint = match nearest(variant, expected.iter().copied()) {
            Some(near) => format!("; did you mean `{near}`?"),
            None => String::new(),
        };
        Self::custom(format_args!("`{variant}` is none of {}{hint}", expected.join(", ")))
    }
}

struct Reader<'de>(&'de Node);

impl<'de> Reader<'de> {
    fn scalar(&self, expected: &str) -> Result<&'de str, Error> {
        let found = match &self.0.value {
            Value::Scalar { text, .. } => return Ok(text),
            Value::Null => "nothing",
            Value::Seq(_) => "a list",
            Value::Map(_) => "a map",
        };
        Err(de::Error::custom(format_args!("is {found}; expected {expected}")))
    }

    fn number<T: FromStr>(&self, expected: &str) -> Result<T, Error> {
        let text = self.scalar(expected)?;
        text.trim().parse().map_err(|_| de::Error::custom(format_args!("`{text}` is not {expected}")))
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.number(&format!("a whole number from {} to {}", <$type>::MIN, <$type>::MAX))?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.value {
            Value::Null => visitor.visit_unit(),
            Value::Seq(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
            Value::Scalar { text, .. } => visitor.visit_borrowed_str(text),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.scalar("true or false")?;
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => visitor.visit_bool(true),
            "false" | "no" | "off" | "0" => visitor.visit_bool(false),
            _ => Err(de::Error::custom(format_args!("`{text}` is neither true nor false"))),
        }
    }

    numbers!(
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64, deserialize_i64 visit_i64 i64, deserialize_i32 visit_i32 i32
    );

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f64(self.number("a number")?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.scalar("a text")?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.value {
            Value::Null => visitor.visit_none(),
            Value::Scalar { text, .. } if text.is_empty() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.value {
            Value::Seq(items) => visitor.visit_seq(Items { items: items.iter().enumerate() }),
            Value::Null => visitor.visit_seq(Items { items: [].iter().enumerate() }),
            _ => Err(de::Error::custom("expected a list, as `[a, b]`")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let entries = match &self.0.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => return Err(de::Error::custom("expected a map of keys to values")),
        };
        visitor.visit_map(Entries { entries: entries.iter(), value: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let text = self.scalar(&format!("one of {}", variants.join(", ")))?;
        let exact = variants.iter().find(|variant| variant.eq_ignore_ascii_case(text)).copied().unwrap_or(text);
        visitor.visit_enum(IntoDeserializer::<Error>::into_deserializer(exact))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

struct Items<'de> {
    items: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        seed.deserialize(Reader(node)).map(Some).map_err(|error| error.within(format!("[{index}]"), &node.origin))
    }
}

struct Entries<'de> {
    entries: std::slice::Iter<'de, (super::node::Key, Node)>,
    value: Option<&'de (super::node::Key, Node)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        // A key without a value says nothing: the structure's default stays.
        self.value = self.entries.by_ref().find(|(_, node)| node.value != Value::Null);
        let Some((key, _)) = self.value else { return Ok(None) };
        let name: de::value::StrDeserializer<'_, Error> = key.name.as_str().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|error| error.within(key.name.clone(), &key.origin))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some((key, node)) = self.value.take() else { return Err(de::Error::custom("a value without its key")) };
        seed.deserialize(Reader(node)).map_err(|error| error.within(key.name.clone(), &node.origin))
    }
}
