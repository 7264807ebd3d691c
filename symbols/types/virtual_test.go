package types

import "testing"

// TestTraitNames guards that a dyn type and the vtables for it are known by one name.
func TestTraitNames(t *testing.T) {
	for name, want := range map[string]string{
		"<values::Square as values::Shape>::{vtable}":                     "values::Shape",
		"<&alloc::vec::Vec<u8, A> as core::fmt::Debug>::{vtable}":         "core::fmt::Debug",
		"<app::Log as app::Handler<app::Request>>::{vtable}":              "app::Handler",
		"<<A as B>::f::{closure_env#0} as core::ops::Fn<(&C)>>::{vtable}": "core::ops::Fn",
		"<fn(&C) -> core::result::Result<(), E> as Fn<(&C)>>::{vtable}":   "Fn",
		"<A as core::ops::Fn<(fn(u8) -> Option<u8>)>>::{vtable}":          "core::ops::Fn",
		"<values::Square as values::Shape>::{vtable_type}":                "",
		"values::Square":      "",
		">::{vtable}":         "",
		"<broken>>::{vtable}": "",
	} {
		if got, ok := VtableTrait(name); got != want || ok != (want != "") {
			t.Errorf("%s: %q", name, got)
		}
	}
	for name, want := range map[string]string{
		"dyn values::Shape":                             "values::Shape",
		"(dyn core::error::Error + core::marker::Send)": "core::error::Error",
		"dyn core::ops::Fn<(i32), Output=i32>":          "core::ops::Fn",
		"dyn values::Shape>":                            "values::Shape",
		"dyn ":                                          "",
		"values::Shape":                                 "",
	} {
		if got, ok := principal(name); ok != (want != "") || ok && got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
