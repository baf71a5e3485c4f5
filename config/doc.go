// Package config is the configuration of restored: what can be set, what it
// is when nobody sets it, and what is refused.
//
// Values come in layers, each over the one before: the defaults ([Default]),
// the file, the environment (RESTORED_RESTORE_MODEL sets restore.model) and
// the flags. [Load] puts them together with viper and remembers for each key
// where its value came from ([Origins]).
//
// Loading is strict. An unknown key, a key given twice, a value of the wrong
// type and a value out of range are errors that name the key, the value and
// what is allowed; nothing is repaired or rounded in silence. What a later
// version will do and this one cannot is refused too, and never ignored.
//
// The table in option.go is the one list of keys: the loader, the validation
// of names, [Reference] and the test of the shipped sample
// (systemd/restored.yaml) all read it.
package config
