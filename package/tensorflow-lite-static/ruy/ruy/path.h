// Included by name in TensorFlow Lite; the code paths that ruy chooses from do not exist here.
#ifndef RUY_RUY_PATH_H_
#define RUY_RUY_PATH_H_
#endif  // RUY_RUY_PATH_H_
