package world

import "reflect"

// overlay returns base with what is set in over.
func overlay[T any](base, over T) T {
	made := deepCopy(reflect.ValueOf(base))
	set := reflect.ValueOf(over)
	for i := range set.NumField() {
		if !set.Field(i).IsZero() {
			made.Field(i).Set(deepCopy(set.Field(i)))
		}
	}
	return made.Interface().(T)
}
