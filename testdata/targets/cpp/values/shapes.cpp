// The one unit that describes the classes.
#include "shapes.h"

namespace shop {

Figure::~Figure() {}
TRACED int Figure::twice() const { return 2 * area(); }

Circle::Circle(int radius) : radius(radius) {}
int Circle::area() const { return 3 * radius * radius; }

Labelled::~Labelled() {}
std::size_t Labelled::length() const { return 0; }

Badge::Badge(int number) : Circle(1), number(number) {}
std::size_t Badge::length() const { return 5; }

int Plain::area() const { return 0; }

Device::~Device() {}
Source::~Source() {}
Sink::~Sink() {}
Disk::~Disk() {}

Window::Window() { setup(); }
Window::~Window() {}
TRACED int Window::setup() const { return width; }
Dialog::~Dialog() {}

} // namespace shop
