// Package v1alpha1 is every external shape of Plimsoll: the NodeUtilization object that crosses the
// network, the agent's configuration file and the arguments of the scheduler plugin, with their
// defaults and validation.
//
// Units are in the field names: MilliCPU is thousandths of a core, Bytes are bytes, Permille is
// thousandths of the whole (PSI "10.25 %" is 102). A pointer that is nil was not measured: missing
// is not zero.
//
// The trap: the configuration kinds are decoded strictly over their defaults (see DecodeStrict), so
// an explicit zero stays a zero and is validated as one, and an unknown field is an error.
//
// +kubebuilder:object:generate=true
// +groupName=plimsoll.dev
package v1alpha1
