// std::thread::join must wait. Exit 0 when it does; uClibc aborts when pthread_join is missing.

#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>

int main() {
    std::atomic<int> done{0};
    std::thread worker([&done] {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        done = 1;
    });
    worker.join();
    std::printf("joined %d\n", done.load());
    return done ? 0 : 1;
}
