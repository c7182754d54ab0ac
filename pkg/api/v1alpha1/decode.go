package v1alpha1

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// DecodeStrict decodes YAML or JSON over into, which holds the defaults. Unknown and repeated fields,
// and values of the wrong type, are errors that name the field. After an error into holds what could be
// decoded, so that the rest can be validated and every fault be told at once.
func DecodeStrict(data []byte, into any) error {
	err := yaml.UnmarshalStrict(data, into)
	if err == nil {
		return nil
	}
	// The decoder stops at the first field that it does not know; this one finds all, with their paths.
	if unknown := unknownFields(data, into); len(unknown) > 0 {
		// It left into half filled. What else is wrong with the document is in the error of this decoding.
		err = errors.Join(append(unknown, yaml.Unmarshal(data, into))...)
	}
	return fmt.Errorf("decoding %T: %w", into, err)
}

// unknownFields are the fields of a document that a value of into's type does not have.
func unknownFields(data []byte, into any) []error {
	var document any
	if err := yaml.Unmarshal(data, &document); err != nil {
		return nil
	}
	raw, err := json.Marshal(hollow(document))
	if err != nil {
		return nil
	}
	unknown, _ := kjson.UnmarshalStrict(raw, reflect.New(reflect.TypeOf(into).Elem()).Interface(), kjson.DisallowUnknownFields)
	return unknown
}

// hollow is the fields of a document without their values: one of the wrong type, as the boolean that an
// unquoted Off is to YAML, would end the search for fields.
func hollow(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = hollow(v[k])
		}
		return v
	case []any:
		for i := range v {
			v[i] = hollow(v[i])
		}
		return v
	default:
		return nil
	}
}

// ParseAgentConfiguration decodes an AgentConfiguration file over the defaults and validates it. The
// error names every bad field with its value and what is allowed. Names and arguments of strategies
// are checked by whoever knows the strategies.
func ParseAgentConfiguration(data []byte) (*AgentConfiguration, error) {
	c := DefaultAgentConfiguration()
	defaultStrategies := c.Strategies
	c.Strategies = nil // a file's list replaces the default list, it is not merged into it
	c.TypeMeta = metav1.TypeMeta{}
	decoding := DecodeStrict(data, c)
	if c.Strategies == nil {
		c.Strategies = defaultStrategies
	}
	c.RuntimeHook.Mode = spelled(c.RuntimeHook.Mode)
	c.Lending.Mode = spelled(c.Lending.Mode)
	for i := range c.Strategies {
		mode := &c.Strategies[i].Mode
		if *mode = spelled(*mode); *mode == "" {
			*mode = ModeObserve
		}
	}
	if err := faults(decoding, ValidateAgentConfiguration(c)); err != nil {
		return nil, err
	}
	return c, nil
}

// Hash is the SHA-256 of a configuration with its defaults: what the audit log names it by.
func (c *AgentConfiguration) Hash() (string, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("hashing the configuration: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// faults is everything that is wrong with a document; nil for nothing.
func faults(decoding error, errs field.ErrorList) error {
	if len(errs) > 0 {
		return errors.Join(decoding, errs.ToAggregate())
	}
	return decoding
}

// spelled is the mode that was written: YAML 1.1 reads an unquoted Off as the boolean false.
func spelled(m Mode) Mode {
	if m == "false" {
		return ModeOff
	}
	return m
}

// ParseLoadAwareArgs decodes the plugin's arguments over the defaults and validates them. Empty data
// means the defaults. The error names every bad field, as below root, with its value and what is allowed.
func ParseLoadAwareArgs(data []byte, root *field.Path) (*LoadAwareArgs, error) {
	a := DefaultLoadAwareArgs()
	var decoding error
	if len(data) > 0 {
		if err := DecodeStrict(data, a); err != nil {
			decoding = fmt.Errorf("%s: %w", root, err)
		}
	}
	if err := faults(decoding, ValidateLoadAwareArgs(a, root)); err != nil {
		return nil, err
	}
	return a, nil
}
