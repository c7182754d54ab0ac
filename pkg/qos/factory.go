package qos

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// NewFactory makes the Factory of a strategy whose arguments are of type A. Arguments are decoded strictly
// over defaults, so that what is absent keeps its default and an explicit zero stays zero; defaults is a
// func because decoding may write into the slices and maps that it returns. validate names every field
// that is out of range.
func NewFactory[A any](name string, defaults func() A, validate func(A) error, build func(A) Strategy) Factory {
	return Factory{Name: name, New: func(raw []byte) (Strategy, error) {
		args := defaults()
		if len(raw) > 0 {
			d := json.NewDecoder(bytes.NewReader(raw))
			d.DisallowUnknownFields()
			if err := d.Decode(&args); err != nil {
				return Strategy{}, fmt.Errorf("args of strategy %s: %w", name, err)
			}
			if _, err := d.Token(); err != io.EOF {
				return Strategy{}, fmt.Errorf("args of strategy %s: more than one value", name)
			}
		}
		if err := validate(args); err != nil {
			return Strategy{}, fmt.Errorf("args of strategy %s: %w", name, err)
		}
		return build(args), nil
	}}
}

// Ranges collects the arguments of a strategy that are out of range.
type Ranges struct{ errs []error }

// Check adds an error that names the field, its value and its range, where value is not within that.
func (r *Ranges) Check(field string, value, least, most int64) {
	if value < least || value > most {
		r.errs = append(r.errs, fmt.Errorf("%s %d: must be %d to %d", field, value, least, most))
	}
}

// Err is all that Check added; nil where that is nothing.
func (r *Ranges) Err() error { return errors.Join(r.errs...) }
