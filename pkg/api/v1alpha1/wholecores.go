package v1alpha1

import (
	"fmt"
	"strconv"
)

// mostWholeCores is above the cores of any machine that Linux is built for.
const mostWholeCores = 8192

// ParseWholeCores reads WholeCoresAnnotation. Without one a pod asks for none.
func ParseWholeCores(annotation string) (cores int64, err error) {
	if annotation == "" {
		return 0, nil
	}
	cores, err = strconv.ParseInt(annotation, 10, 64)
	if err != nil || cores < 0 || cores > mostWholeCores {
		return 0, fmt.Errorf("%s %q: must be a whole number, 0 to %d", WholeCoresAnnotation, annotation, mostWholeCores)
	}
	return cores, nil
}
