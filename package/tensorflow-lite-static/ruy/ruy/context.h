// ruy::Context: holds threads and packed matrices in ruy; there is nothing to hold here.
#ifndef RUY_RUY_CONTEXT_H_
#define RUY_RUY_CONTEXT_H_

namespace ruy {

class Context final {
 public:
  Context() = default;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  int max_num_threads() const { return max_num_threads_; }
  void set_max_num_threads(int value) { max_num_threads_ = value; }
  void ClearPrepackedCache() {}

 private:
  int max_num_threads_ = 1;
};

}  // namespace ruy

#endif  // RUY_RUY_CONTEXT_H_
