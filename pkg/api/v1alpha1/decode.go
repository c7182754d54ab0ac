package v1alpha1

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// DecodeStrict decodes YAML or JSON over into, which holds the defaults. Unknown and repeated fields,
// and values of the wrong type, are errors that name the field.
func DecodeStrict(data []byte, into any) error {
	if err := yaml.UnmarshalStrict(data, into); err != nil {
		return fmt.Errorf("decoding %T: %w", into, err)
	}
	return nil
}

// ParseAgentConfiguration decodes an AgentConfiguration file over the defaults and validates it. The
// error names every bad field with its value and what is allowed. Names and arguments of strategies
// are checked by whoever knows the strategies.
func ParseAgentConfiguration(data []byte) (*AgentConfiguration, error) {
	c := DefaultAgentConfiguration()
	defaultStrategies := c.Strategies
	c.Strategies = nil // a file's list replaces the default list, it is not merged into it
	c.TypeMeta = metav1.TypeMeta{}
	if err := DecodeStrict(data, c); err != nil {
		return nil, err
	}
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
	if errs := ValidateAgentConfiguration(c); len(errs) > 0 {
		return nil, errs.ToAggregate()
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
	if len(data) > 0 {
		if err := DecodeStrict(data, a); err != nil {
			return nil, fmt.Errorf("%s: %w", root, err)
		}
	}
	if errs := ValidateLoadAwareArgs(a, root); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	return a, nil
}
