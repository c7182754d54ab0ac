// Package runtimehook is the agent's NRI plugin: it puts the containers of batch pods into the batch
// branch when the container runtime creates them, so that they never run anywhere else, and it tells
// the agent which container belongs to which pod.
//
// It is not a control loop: it only answers the runtime, at once and without asking anybody. Pods that
// are not batch are never touched, and a failure of the hook never keeps one from starting.
//
// It has no units. The trap: the pod's sandbox stays in the pod's own group, so on a batch pod the
// kubelet's per-pod numbers show the sandbox only; the containers have their own.
package runtimehook
